"""Mistakes on the command line, each with the likely remedy."""

import argparse
from collections.abc import Collection, Sequence
from typing import Final

from backhaul.config.invitation import SCHEME
from backhaul.config.messages import nearest
from backhaul.paths import is_present
from backhaul.system.log import escape

from .tree import find, read

_OPTIONS: Final = ("--help", "--version")


def no_command(word: str, commands: Collection[str]) -> str:
    """Return the objection to a word that stands in place of a command."""
    if word.startswith(SCHEME):  # holds a token
        return "write `backhaul join` before the line"
    return f"no command {escape(word)}; {_instead(word, commands)}"


def refuse_rest(parser: argparse.ArgumentParser, options: argparse.Namespace, rest: Sequence[str]) -> None:
    """Print usage and objection of a command whose arguments go on with words that it does not know; then exit."""
    words = [word for word in (options.command, getattr(options, "action", "")) if word]
    command = find(parser, words)
    remedy = _for_rest(rest[0], [flag for option in read(command).options for flag in option.flags])
    command.error(f"unrecognized arguments: {escape(' '.join(rest))}{remedy}")


def _instead(word: str, commands: Collection[str]) -> str:
    if _is_file(word):
        return f"to run a file: backhaul -c {escape(word)}"
    near = nearest(word, [*commands, *_OPTIONS])
    return f"did you mean `backhaul {near}`?" if near else "`backhaul --help` lists the commands"


def _for_rest(word: str, flags: Sequence[str]) -> str:
    near = nearest(word, [flag for flag in flags if flag.startswith("--")]) if word.startswith("-") else ""
    if near:
        return f"; did you mean `{near}`?"
    return f"; name a file with -c: -c {escape(word)}" if "-c" in flags and _is_file(word) else ""


def _is_file(word: str) -> bool:
    return word.endswith(".toml") or "/" in word or is_present(word)

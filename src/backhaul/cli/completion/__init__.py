"""The command ``backhaul completion``: prints the completion script for a shell."""

import argparse
from collections.abc import Callable
from typing import Final

from backhaul.cli.tree import Command, read

from . import bash, fish, zsh

_SCRIPTS: Final[dict[str, Callable[[Command], str]]] = {
    "bash": bash.script,
    "zsh": zsh.script,
    "fish": fish.script,
}


def completion(shell: str, parser: argparse.ArgumentParser) -> str:
    """Return the script for ``bash``, ``zsh`` or ``fish``."""
    return _SCRIPTS[shell](read(parser))


def run(shell: str, parser: argparse.ArgumentParser) -> int:
    """Print the script; return the exit code."""
    print(completion(shell, parser), end="")
    return 0

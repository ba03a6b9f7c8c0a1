"""The running programs on this machine, for commands that show or change something in them."""

import os
import sys
from pathlib import Path
from urllib.parse import urlencode

import msgspec
from msgspec import Struct

from backhaul.api.operations import Operation
from backhaul.config import ConfigError
from backhaul.config.files import find_files
from backhaul.paths import is_folder, is_missing
from backhaul.system.calls import Call
from backhaul.system.log import escape
from backhaul.system.programs import Document, Programs, all_programs, programs_of


def call(operation: Operation, message: Struct | None = None) -> Call:
    """Return the call of an operation, with its query or its body."""
    fields = msgspec.to_builtins(message) if message else {}
    if operation.method == "POST":
        return Call("POST", operation.path, msgspec.json.encode(fields))
    return Call("GET", f"{operation.path}?{urlencode(fields)}" if fields else operation.path)


def ask_programs(config: str | None, request: Call) -> Programs:
    """Send a call to the running programs, or to the one that runs ``config``; no answer at all is a problem.

    Each file of a directory has a program of its own.
    """
    if config and is_folder(config):
        return _of_directory(config, request)
    found = programs_of(config, request) if config else all_programs(request)
    if found.documents or found.problems:
        return found
    return found._replace(problems=[_foreign(found.foreign) if found.foreign else _nobody(config)])


def _of_directory(folder: str, request: Call) -> Programs:
    found = Programs([], [], [])
    try:
        files = find_files([folder])
    except ConfigError as error:
        return found._replace(problems=list(error.problems))
    for file in files:
        one = ask_programs(str(file), request)
        found.documents.extend(one.documents)
        found.problems.extend(one.problems)
    return found


def names_one(command: str, config: str | None, why: str) -> bool:
    """Return whether it is clear which program is meant; print a problem if several run and ``config`` names none."""
    if config or len(programs := all_programs().documents) <= 1:
        return True
    files = ", ".join(str(document.get("config")) for document in programs)
    complain(command, [f"{why}; name one with -c FILE: {files}"])
    return False


def complain(command: str, problems: list[str]) -> None:
    """Print the problems of a command. Names of sockets and texts of other programs are escaped."""
    for problem in problems:
        print(f"backhaul {command}: {escape(problem)}", file=sys.stderr)


def label(document: Document) -> str:
    """Return the name of a program for people."""
    return Path(document["socket"]).stem.rpartition("-")[0]


def _foreign(paths: list[Path]) -> str:
    more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
    return f"{paths[0]}{more}: owned by another user; ask as that user or as root"


def _nobody(config: str | None) -> str:
    if config and is_missing(config):
        return f"{config}: no such file, and no program runs it"
    if config:
        return f"{config}: not run by any program{'' if is_root() else ' that you may ask'}"
    if is_root():
        return "no program runs on this machine; for one in a container, run the command there"
    return "no program that you may ask runs on this machine; root may ask all"


def is_root() -> bool:
    """Return whether this user may ask all programs."""
    return os.geteuid() == 0

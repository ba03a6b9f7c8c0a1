"""The running programs on this machine, for commands that show or change something in them."""

import sys
from pathlib import Path
from typing import Final

from backhaul.system.log import escape
from backhaul.system.programs import Document, Programs, all_programs, programs_of

TOO_OLD: Final = "an earlier version of the program, which can't {}; restart it"
"""The problem of a program that knows only one request, that for its status."""


def ask_programs(config: str | None, request: str) -> Programs:
    """Send a request to the running programs, or to the one that runs ``config``; no answer at all is a problem."""
    found = programs_of(config, request) if config else all_programs(request)
    if found.documents or found.problems:
        return found
    return found._replace(problems=[_foreign(found.foreign) if found.foreign else _nobody(config)])


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
    if config:
        return f"{config}: not run by any program that you may ask"
    return "no program that you may ask runs on this machine; root may ask all"

"""The command ``backhaul completion``: prints the completion of the command line for a shell."""

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


def run(shell: str, parser: argparse.ArgumentParser) -> int:
    """Print the script for ``bash``, ``zsh`` or ``fish``; return the exit code."""
    print(_SCRIPTS[shell](read(parser)), end="")
    return 0

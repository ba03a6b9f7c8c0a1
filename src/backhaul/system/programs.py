"""The programs that run on this machine, as their status sockets show them."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from backhaul.errors import UNREADABLE

from .status_socket import ask, clear, socket_name, sockets

Document = dict[str, Any]
"""The answer of a program."""


class Programs(NamedTuple):
    """What the status sockets have answered."""

    documents: list[Document]
    """The answer of each program, with its ``socket`` and the name of its ``config``."""
    problems: list[str]
    """A line for each program that did not answer properly."""
    foreign: list[Path]
    """The sockets of other users. It can't be found out whether a program listens on them."""


def all_programs(request: str = "status") -> Programs:
    """Send a request to all programs."""
    return _collect(sockets(), request)


def programs_of(config: str, request: str = "status") -> Programs:
    """Send a request to the program whose socket is named after this file, or else to those that say they run it."""
    paths = sockets()
    if named := [path for path in paths if path.name == socket_name(config)]:
        return _collect(named, request)
    found = [document for document in _collect(paths).documents if is_same_file(document.get("config"), config)]
    if request == "status":
        return Programs(found, [], [])
    return _collect([Path(document["socket"]) for document in found], request)


def is_same_file(file: object, other: str) -> bool:
    """Return whether a name from outside and a path name the same file."""
    try:
        return isinstance(file, str) and Path(file).samefile(other)
    except (OSError, ValueError):  # removed, or not a valid name
        return False


def _collect(paths: Sequence[Path], request: str = "status") -> Programs:
    found = Programs([], [], [])
    for path in paths:
        try:
            document = msgspec.json.decode(ask(path, request), type=Document)
            found.documents.append({**document, "socket": str(path)})  # which no answer may replace
        except FileNotFoundError:
            continue
        except ConnectionRefusedError:  # the socket of a killed program
            clear(path, time.time())
        except PermissionError:
            found.foreign.append(path)
        except TimeoutError:
            found.problems.append(f"{path}: the program runs, but does not answer")
        except (OSError, *UNREADABLE) as error:
            found.problems.append(f"{path}: broken answer: {error}")
    return found

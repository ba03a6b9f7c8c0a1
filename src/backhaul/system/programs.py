"""The programs that run on this machine, as their status sockets report them."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from backhaul.errors import UNREADABLE, BackhaulError
from backhaul.paths import is_same

from .calls import STATUS, Call, RefusalError, ask
from .status_socket import clear, socket_name, sockets

Document = dict[str, Any]
"""The answer of a program."""


class Programs(NamedTuple):
    """The answers of the status sockets."""

    documents: list[Document]
    """The answer of each program, with its ``socket`` and the name of its ``config``."""
    problems: list[str]
    """A line for each program that did not answer properly."""
    foreign: list[Path]
    """The sockets of other users, on which programs may or may not listen."""


def all_programs(call: Call = STATUS) -> Programs:
    """Send a call to all programs."""
    return _collect(sockets(), call)


def programs_of(config: str, call: Call = STATUS) -> Programs:
    """Send a call to the program whose socket is named after this file, or else to those that report running it."""
    paths = sockets()
    if named := [path for path in paths if path.name == socket_name(config)]:
        return _collect(named, call)
    found = [document for document in _collect(paths).documents if is_same_file(document.get("config"), config)]
    if call == STATUS:
        return Programs(found, [], [])
    return _collect([Path(document["socket"]) for document in found], call)


def is_same_file(file: object, other: str) -> bool:
    """Return whether a name from outside and a path name the same file."""
    return isinstance(file, str) and is_same(file, other)


def _collect(paths: Sequence[Path], call: Call = STATUS) -> Programs:
    found = Programs([], [], [])
    for path in paths:
        try:
            document = msgspec.json.decode(ask(path, call), type=Document)
            found.documents.append({**document, "socket": str(path)})  # which no answer may replace
        except FileNotFoundError:
            continue
        except ConnectionRefusedError:  # the socket of a killed program
            clear(path, time.time())
        except PermissionError:
            found.foreign.append(path)
        except TimeoutError:
            found.problems.append(f"{path}: the program runs, but does not answer")
        except RefusalError as error:
            found.problems.append(f"{path}: {error}")
        except (OSError, BackhaulError, *UNREADABLE) as error:
            found.problems.append(f"{path}: broken answer: {error}")
    return found

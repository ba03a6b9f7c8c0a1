"""The commands ``backhaul drain``, ``backhaul resume``, ``backhaul reload`` and ``backhaul reopen``."""

import time
from collections.abc import Callable
from typing import Final

import msgspec
from msgspec import Struct

from backhaul.api.messages import Drained, DrainRequest, Loaded, Nothing, Reopened
from backhaul.api.operations import DRAIN, RELOAD, REOPEN, RESUME, Operation
from backhaul.errors import BackhaulError
from backhaul.monitor.status import ClientStatus, Status
from backhaul.system.calls import STATUS
from backhaul.system.log import escape
from backhaul.system.programs import Document

from .programs import ask_programs, call, complain, label, names_one
from .tables import number

_LOOK_EVERY: Final = 0.5  # seconds
_STRANGE: Final = "another version of the program, whose answer can't be read"


def drain(config: str | None, client: str, wait: float) -> int:
    """Make a program refuse new users, and wait ``wait`` seconds for the others to leave; return 1 if some remain.

    With the name of a client, only its users are meant.
    """
    if not _each("drain", config, DRAIN, _drained, DrainRequest(client)):
        return 1
    try:
        return _wait(config, client, wait) if wait else 0
    except BackhaulError as error:
        complain("drain", [str(error)])
        return 1


def _wait(config: str | None, client: str, wait: float) -> int:
    end = time.monotonic() + wait
    while _present(config, client):
        if time.monotonic() >= end:
            return 1
        time.sleep(_LOOK_EVERY)
    print("all users have left")
    return 0


def _present(config: str | None, client: str) -> int:
    """Return the number of users who have not left; raise BackhaulError if new ones are admitted."""
    parts = [_part(status, client) for status in _statuses(config)]
    if not all(part.draining for part in parts):
        raise BackhaulError("no longer drained: another administrator has ended that")
    return sum(part.users for part in parts)


def _part(status: Status, client: str) -> Status | ClientStatus:
    return next((one for one in status.clients if client and one.name == client), status)


def resume(config: str | None, client: str) -> int:
    """Make a program admit new users again, of all clients or of one."""
    return 0 if _each("resume", config, RESUME, _resumed, DrainRequest(client)) else 1


def reload(config: str | None) -> int:
    """Make a program read its configuration file again; return 1 if it has not loaded it."""
    outcomes: list[bool] = []

    def show(document: Document) -> None:
        loaded = msgspec.convert(document, Loaded)
        outcomes.append(loaded.loaded)
        complain("reload", list(loaded.problems))
        if loaded.loaded:
            lines = [f"{label(document)}: loaded, {_changes(loaded)}", *loaded.warnings]
            print("\n".join(map(escape, lines)))

    return 0 if _each("reload", config, RELOAD, show) and all(outcomes) else 1


def reopen(config: str | None) -> int:
    """Make all programs, or the one that is meant, reopen their access logs; one without such a log is no problem."""
    return 0 if _ask("reopen", config, REOPEN, _reopened) else 1


def _drained(document: Document) -> None:
    users = msgspec.convert(document, Drained).users
    print(escape(f"{label(document)}: draining, {number(users, 'user')} present"))


def _statuses(config: str | None) -> list[Status]:
    """Return the status of each program that is meant; raise BackhaulError if one does not answer."""
    found = ask_programs(config, STATUS)
    if found.problems:
        raise BackhaulError(found.problems[0])
    return [msgspec.convert(document, Status) for document in found.documents]


def _resumed(document: Document) -> None:
    print(escape(f"{label(document)}: new users are admitted"))


def _each(
    command: str,
    config: str | None,
    operation: Operation,
    show: Callable[[Document], None],
    body: Struct = Nothing(),  # noqa: B008 - it has no fields
) -> bool:
    """Carry out an operation in the program that is meant, and show its answer; return whether there was no problem."""
    named = names_one(command, config, "several programs run on this machine")
    return named and _ask(command, config, operation, show, body)


def _ask(
    command: str,
    config: str | None,
    operation: Operation,
    show: Callable[[Document], None],
    body: Struct = Nothing(),  # noqa: B008 - as above
) -> bool:
    """Carry out an operation in the chosen programs, and show their answers; return whether there was no problem."""
    found = ask_programs(config, call(operation, body))
    problems = list(found.problems)
    for document in found.documents:
        try:
            show(document)
        except msgspec.ValidationError:
            problems.append(f"{document['socket']}: {_STRANGE}")
    complain(command, problems)
    return not problems


def _reopened(document: Document) -> None:
    place = msgspec.convert(document, Reopened).access_log
    done = "reopened" if place.startswith("/") else "needs no reopening"
    print(escape(f"{label(document)}: {f'{place} {done}' if place else 'no access log'}"))


def _changes(loaded: Loaded) -> str:
    changes = loaded.changes
    ports = {"added": changes.ports_added, "removed": changes.ports_removed, "retargeted": changes.ports_retargeted}
    texts = [f"{number(len(names), 'port')} {what}" for what, names in ports.items() if names]
    texts += [f"keys changed: {', '.join(changes.keys)}"] if changes.keys else []
    texts += [f"requires a restart: {', '.join(changes.restart)}"] if changes.restart else []
    return "; ".join(texts) or "nothing has changed"

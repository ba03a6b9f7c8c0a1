"""The command ``backhaul connections``: shows the users in flight of the programs on this machine."""

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from backhaul.api.messages import ConnectionsQuery
from backhaul.api.operations import CONNECTIONS
from backhaul.monitor.connections import ConnectionStatus
from backhaul.state import UDP
from backhaul.system.log import escape
from backhaul.system.programs import Document, Programs

from . import watch
from .programs import ask_programs, call, complain, label
from .tables import duration, number, size, table


class Row(NamedTuple):
    """A connection with its age, and its rates in bytes a second."""

    connection: ConnectionStatus
    age: float
    from_user: float
    to_user: float


class Program(NamedTuple):
    """A running program with its connections in order."""

    document: Document
    rows: list[Row]


class Wish(NamedTuple):
    """The connections to show, and their order."""

    config: str | None
    query: ConnectionsQuery
    sort: str


class Column(NamedTuple):
    """A column of the table, with the key by which rows are sorted: texts and times rise, amounts fall."""

    title: str
    cell: Callable[[Row], str]
    key: Callable[[Row], Any]
    right: bool = False


COLUMNS: Final = {
    "id": Column("id", lambda row: str(row.connection.id), lambda row: row.connection.id, right=True),
    "age": Column("age", lambda row: duration(row.age), lambda row: row.connection.since, right=True),
    "user": Column("user", lambda row: row.connection.user, lambda row: row.connection.user),
    "port": Column("port", lambda row: row.connection.port, lambda row: row.connection.port),
    "target": Column("target", lambda row: row.connection.target, lambda row: row.connection.target),
    "received": Column(
        "from user", lambda row: size(row.connection.received), lambda row: -row.connection.received, right=True
    ),
    "sent": Column("to user", lambda row: size(row.connection.sent), lambda row: -row.connection.sent, right=True),
    "rate-received": Column("from user/s", lambda row: _rate(row.from_user), lambda row: -row.from_user, right=True),
    "rate-sent": Column("to user/s", lambda row: _rate(row.to_user), lambda row: -row.to_user, right=True),
    "state": Column("state", lambda row: row.connection.state, lambda row: row.connection.state),
    "client": Column("client", lambda row: row.connection.client, lambda row: row.connection.client),
    "carrier": Column(
        "carrier",
        lambda row: f"{row.connection.carrier}, UDP" if row.connection.protocol == UDP else row.connection.carrier,
        lambda row: row.connection.carrier,
    ),
}
"""The columns in their order, by the words of ``--sort``. A narrow terminal lacks the last ones."""
_MAY_BE_MISSING: Final = frozenset({"user", "port", "client", "rate-received", "rate-sent"})


def run_once(wish: Wish, *, as_json: bool) -> int:
    """Print the connections of the running programs, or of one of them; return 1 if no program answers."""
    found = _ask(wish)
    complain("connections", found.problems)
    programs = [_program(document, wish.sort, Rates()) for document in found.documents]
    if as_json:
        print(json.dumps([_plain(program) for program in programs], indent=2))
    elif programs:
        print("\n\n".join("\n".join(_lines(program)) for program in programs))
    return 0 if programs and not found.problems else 1


def run_watch(wish: Wish) -> int:
    """Show the connections on the terminal, redrawn every second, until the administrator ends it."""
    if not (sys.stdout and sys.stdout.isatty()):
        print("backhaul connections: --watch needs a terminal; --json is for programs", file=sys.stderr)
        return 2
    rates = Rates()
    watch.repeat(lambda: _frame(wish, rates))
    return 0


class Rates:
    """The rates of connections, from this look and the previous one."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._before: dict[tuple[str, int], tuple[float, int, int]] = {}
        self._now: dict[tuple[str, int], tuple[float, int, int]] = {}

    def next_look(self) -> None:
        """Begin another look at all connections."""
        self._before, self._now = self._now, {}

    def of(self, socket: str, connection: ConnectionStatus) -> tuple[float, float]:
        """Return the bytes a second from and to the user; 0 for a new connection."""
        key, now = (socket, connection.id), self._clock()
        self._now[key] = now, connection.received, connection.sent
        then, received, sent = self._before.get(key, (now, 0, 0))
        if now == then:
            return 0.0, 0.0
        return (connection.received - received) / (now - then), (connection.sent - sent) / (now - then)


def _ask(wish: Wish) -> Programs:
    found = ask_programs(wish.config, call(CONNECTIONS, wish.query))
    able, problems = [], list(found.problems)
    for document in found.documents:
        try:
            able.append(_decoded(document))
        except (KeyError, msgspec.ValidationError):
            problems.append(f"{document['socket']}: another version of the program, whose list can't be read")
    return Programs(able, problems, found.foreign)


def _decoded(document: Document) -> Document:
    return document | {"connections": msgspec.convert(document["connections"], list[ConnectionStatus])}


def _program(document: Document, sort: str, rates: Rates) -> Program:
    now = time.time()
    rows = [
        Row(connection, now - connection.since, *rates.of(document["socket"], connection))
        for connection in document["connections"]
    ]
    return Program(document, sorted(rows, key=COLUMNS[sort].key))


def _plain(program: Program) -> Document:
    return program.document | {"connections": [msgspec.to_builtins(row.connection) for row in program.rows]}


def _frame(wish: Wish, rates: Rates) -> Iterator[str]:
    found = _ask(wish)
    rates.next_look()
    programs = [_program(document, wish.sort, rates) for document in found.documents]
    yield f"{time.strftime('%H:%M:%S')}  (q ends)  {_sum([row for program in programs for row in program.rows])}"
    yield from map(escape, found.problems)
    for program in programs:
        yield ""
        yield from _lines(program)


def _sum(rows: Sequence[Row]) -> str:
    from_users, to_users = sum(row.from_user for row in rows), sum(row.to_user for row in rows)
    return f"{number(len(rows), 'user')}, {size(from_users)}/s from users, {size(to_users)}/s to users"


def _lines(program: Program) -> Iterator[str]:
    yield escape(f"{label(program.document)}: {number(len(program.rows), 'user')}")
    if program.rows:
        yield from map(escape, _table(program.rows))


def _table(rows: Sequence[Row]) -> Iterator[str]:
    cells = {word: [column.cell(row) for row in rows] for word, column in COLUMNS.items()}
    shown = [word for word in COLUMNS if word not in _MAY_BE_MISSING or any(cells[word])]
    titles = [COLUMNS[word].title for word in shown]
    right = frozenset(index for index, word in enumerate(shown) if COLUMNS[word].right)
    yield from table([titles, *zip(*(cells[word] for word in shown), strict=True)], right)


def _rate(rate: float) -> str:
    return size(rate) if rate else ""

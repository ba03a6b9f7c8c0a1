"""The command ``backhaul status``: shows the state of the programs running on this machine."""

import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from backhaul.config.messages import few
from backhaul.monitor.status import NO_CLIENT, Event, PortStatus, Status
from backhaul.system.log import escape
from backhaul.system.programs import all_programs, programs_of

_COLUMNS: Final = ("open", "total", "refused", "dropped", "from users", "to users")
_KIB: Final = 1024
_SIZES: Final = ("B", "KiB", "MiB", "GiB", "TiB")
_EVENTS: Final = 5  # the last ones: enough to see why a tunnel is down
_UNITS: Final = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))


def run(config: str | None, *, as_json: bool) -> int:
    """Print the status of the running programs, or of the one that runs the file ``config``.

    Returns 0 if there is at least one, all tunnels are connected, and all ports are up; otherwise 1.
    """
    documents, problems, foreign = programs_of(config) if config else all_programs()
    for problem in problems or ([] if documents else [_somebody_elses(foreign) if foreign else _nobody(config)]):
        print(f"backhaul status: {problem}", file=sys.stderr)
    if as_json:
        print(json.dumps(documents, indent=2))
    elif documents:
        print("\n\n".join(map(_describe, documents)))
    return 0 if documents and not problems and all(map(_healthy, documents)) else 1


def render(name: str, status: Status, now: float) -> str:
    """Describe one program; ``now`` in seconds since 1970, UTC. Text from outside is escaped."""
    return "\n".join(escape(line) for line in _lines(name, status, now))


def _healthy(document: dict[str, Any]) -> bool:
    ports = document.get("ports")
    down = isinstance(ports, list) and any(isinstance(port, dict) and port.get("up") is False for port in ports)
    return bool(document.get("connected")) and not down


def _somebody_elses(paths: Sequence[Path]) -> str:
    more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
    return f"{paths[0]}{more}: owned by another user; ask as that user or as root"


def _nobody(config: str | None) -> str:
    if config:
        return f"{config}: not run by any program that you may ask"
    return "no program that you may ask runs on this machine; root may ask all"


def _describe(document: dict[str, Any]) -> str:
    path = Path(document["socket"])
    try:
        return render(path.stem.rpartition("-")[0], msgspec.convert(document, Status), time.time())
    except msgspec.ValidationError:
        return f"{path}: another version of the program; --json shows its answer"


def _lines(name: str, status: Status, now: float) -> Iterator[str]:
    state = f"connected to {status.peer}" if status.connected else "NOT CONNECTED"
    state += f": {status.problem}" if status.problem else ""
    state += ", stopping" if status.stopping else ""
    yield f"{name}: {status.side}, transport {status.transport}, {state}"
    yield f"  up {_duration(now - status.started)}, {', '.join(_facts(status))}, version {status.version}"
    if status.side == "client":
        yield f"  allowed targets: {few(status.allow_targets) or 'all but Unix sockets'}"
    if status.ports:
        yield ""
        yield from _table(status)
        yield from _down(status.ports)
    if status.events:
        yield ""
        yield from map(_event, status.events[-_EVENTS:])


def _down(ports: Sequence[PortStatus]) -> Iterator[str]:
    yield from (
        f"  {port.name}: {_count(port.target_refused, 'user')} refused by target {port.target}"
        for port in ports
        if port.target_refused
    )
    yield from (f"  {port.name}: port down: {port.problem}" for port in ports if port.problem not in {"", NO_CLIENT})
    if closed := sum(port.problem == NO_CLIENT for port in ports):
        yield f"  {_count(closed, 'port')} closed: {NO_CLIENT}"


def _facts(status: Status) -> Iterator[str]:
    yield _count(status.reconnects, "reconnect")
    if status.unanswered:
        yield f"{_count(status.unanswered, 'user')} without an answer"
    if status.rtt is not None:
        yield f"round trip {status.rtt * 1000:.1f} ms"
    yield f"pool {status.pool_idle}" + ("" if status.pool_size is None else f" of {status.pool_size}")
    carried = {"session": status.sessions, "stream": status.streams, "UDP flow": status.flows}
    yield from (_count(number, noun) for noun, number in carried.items() if number)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _table(status: Status) -> Iterator[str]:
    names = ("port", "target") if status.side == "server" else ("target",)
    rows = [(*names, *_COLUMNS), *(_row(port)[-len(names) - len(_COLUMNS) :] for port in status.ports)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (
            cell.ljust(width) if index < len(names) else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        yield f"  {'  '.join(cells)}"


def _row(port: PortStatus) -> tuple[str, ...]:
    counts = (port.open, port.total, port.refused, port.dropped)
    return port.name, port.target, *map(str, counts), _size(port.received), _size(port.sent)


def _size(count: float) -> str:
    """Return a number of bytes in the largest unit, such as "5.00 MiB"."""
    power = 0
    while count >= _KIB and power < len(_SIZES) - 1:
        count /= _KIB
        power += 1
    return f"{count:.2f} {_SIZES[power]}" if power else f"{count} B"


def _event(event: Event) -> str:
    return f"  {time.strftime('%d-%b %H:%M:%S', time.localtime(event.time))} {event.level}: {event.text}"


def _duration(seconds: float) -> str:
    """Return the two largest units, such as "3 d 4 h"."""
    left = max(0, int(seconds))
    parts = []
    for unit, length in _UNITS:
        count, left = divmod(left, length)
        parts.append((count, unit))
    first = next((index for index, (count, _) in enumerate(parts) if count), len(parts) - 1)
    return " ".join(f"{count} {unit}" for count, unit in parts[first : first + 2])

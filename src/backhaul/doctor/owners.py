"""The processes that have a port, as /proc shows them."""

import functools
import socket
from collections.abc import Iterator
from contextlib import suppress
from itertools import takewhile
from pathlib import Path
from typing import Final, NamedTuple

_TABLES: Final = {socket.SOCK_STREAM: ("tcp", "tcp6"), socket.SOCK_DGRAM: ("udp", "udp6")}
_LISTENING: Final = "0A"
_ADDRESS, _STATE, _INODE = 1, 3, 9  # columns of proc(5), /proc/net/tcp


class Owner(NamedTuple):
    """The owner of a port, as far as it can be seen."""

    name: str
    """Empty if the process can't be seen: it belongs to another user, or runs in a container."""
    listens: bool
    """False if no program listens on the port: it is the source of a connection to elsewhere."""


class Owners:
    """The owners of ports at one moment."""

    def __init__(self, proc: Path) -> None:
        self._proc = proc

    def find(self, port: int, kind: socket.SocketKind) -> Owner:
        """Return the owner of a port that is not free."""
        inodes = [inode for table in _TABLES[kind] for inode in _inodes(self._proc / "net" / table, kind, port)]
        names = [self._names[inode] for inode in inodes if inode in self._names]
        return Owner(names[0] if names else "", listens=bool(inodes))

    @functools.cached_property
    def _names(self) -> dict[str, str]:
        """Name and number of the process by the number of each of its sockets."""
        processes = [process for process in self._proc.iterdir() if process.name.isdigit()]
        return {inode: name for process in processes for inode, name in _sockets(process)}


def _inodes(table: Path, kind: socket.SocketKind, port: int) -> Iterator[str]:
    """Yield the numbers of the sockets that listen on a port, or take its datagrams."""
    with suppress(OSError), table.open(encoding="ascii") as file:
        file.readline()
        for row in takewhile(lambda row: kind != socket.SOCK_STREAM or row[_STATE] == _LISTENING, map(str.split, file)):
            if int(row[_ADDRESS].rpartition(":")[2], 16) == port:  # those that listen come first, and are few
                yield row[_INODE]


def _sockets(process: Path) -> Iterator[tuple[str, str]]:
    """Yield the number of each socket of a process, with its name."""
    with suppress(OSError):  # it has ended, or belongs to another user
        name = f"{(process / 'comm').read_text().strip()} (process {process.name})"
        for descriptor in (process / "fd").iterdir():
            with suppress(OSError):
                kind, _, inode = str(descriptor.readlink()).partition(":")
                if kind == "socket":
                    yield inode.strip("[]"), name

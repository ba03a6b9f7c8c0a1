"""The connections of this process, found by their ports, whichever object owns them."""

import contextlib
import os
import re
import select
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

EVENTS = ("EPOLLIN", "EPOLLOUT", "EPOLLERR", "EPOLLRDHUP")  # the kernel adds EPOLLERR on its own
MUCH = 4000  # bytes: more than a connection receives before it is used

_BYTES_RECEIVED = 128  # bytes before tcpi_bytes_received in the tcp_info of <linux/tcp.h>


def ends(port: int) -> Iterator[socket.socket]:
    """Yield this process's ends of the connections to ``port``; each is valid until the next is requested."""
    for sock in sockets(socket.SOCK_STREAM):
        with contextlib.suppress(OSError):  # a listener has no peer
            if port in {sock.getsockname()[1], sock.getpeername()[1]}:
                yield sock


def sockets(kind: socket.SocketKind) -> Iterator[socket.socket]:
    """Yield this process's sockets of TCP or UDP; each is valid until the next is requested."""
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # the descriptor of the listing itself is gone
            if str(link.readlink()).startswith("socket:"):
                with socket.socket(fileno=os.dup(int(link.name))) as sock:
                    if sock.family != socket.AF_UNIX and sock.type == kind:
                        yield sock


def used(port: int) -> Iterator[socket.socket]:
    """Yield the ends that have received much."""
    return (sock for sock in ends(port) if received(sock) >= MUCH)


def at(port: int) -> Iterator[socket.socket]:
    """Yield the ends that were accepted on ``port``."""
    return (sock for sock in ends(port) if sock.getsockname()[1] == port)


def towards(port: int) -> Iterator[socket.socket]:
    """Yield the ends that have dialled ``port``."""
    return (sock for sock in ends(port) if sock.getpeername()[1] == port)


def received(sock: socket.socket) -> int:
    """Return the bytes that a connection has received."""
    info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _BYTES_RECEIVED + 8)
    return int.from_bytes(info[_BYTES_RECEIVED:], sys.byteorder)


def watched(sock: socket.socket) -> set[str]:
    """Return the events for which epoll instances of this process watch a socket; empty if none does."""
    found, line = set[str](), re.compile(rf"tfd: +{sock.fileno()} events: +([0-9a-f]+)")
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            if str(link.readlink()) == "anon_inode:[eventpoll]":
                for mask in line.findall(Path(f"/proc/self/fdinfo/{link.name}").read_text()):
                    found |= {name for name in EVENTS if int(mask, 16) & getattr(select, name)}
    return found

"""Backends: ``python -m bench.loads.services {echo,sink,source} PORT`` on 127.0.0.1.

echo: returns all bytes and datagrams, and holds idle connections. sink: counts numbered datagrams (see DATAGRAM) and
answers a QUERY with its count. source: sends to each connection without end, as fast as it is read.
"""

import select
import socket
import struct
import sys
import threading
import time

from bench.processes import LOOPBACK

BACKLOG = 4096
CHUNK = 65536

DATAGRAM_SIZE = 1200  # bytes, as sent by QUIC and most VPNs
DATAGRAM = struct.Struct("!II")  # run, sequence number; the rest of the datagram is filler
QUERY = b"?"
ANSWER = struct.Struct("!IId")  # run, different datagrams received, seconds from the first to the last of them
MAX_DATAGRAMS = 1_000_000  # in one run
RECEIVE_BUFFER = 4 << 20  # bytes; a hiccup of this process must not look like loss in the tunnel


def _listen(port: int) -> socket.socket:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((LOOPBACK, port))
    listener.listen(BACKLOG)
    return listener


def echo(port: int) -> None:
    """Serve until stopped, by one epoll loop on raw sockets, which adds little to the measured latency.

    Every client waits for its answer before it sends more, so a blocking send does not block.
    """
    with (
        socket.socket(type=socket.SOCK_DGRAM) as datagrams,
        _listen(port) as listener,
        select.epoll() as poll,
    ):
        datagrams.bind((LOOPBACK, port))
        poll.register(listener, select.EPOLLIN)
        poll.register(datagrams, select.EPOLLIN)
        connections: dict[int, socket.socket] = {}
        while True:
            for descriptor, _ in poll.poll():
                if descriptor == listener.fileno():
                    sock, _ = listener.accept()
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    connections[sock.fileno()] = sock
                    poll.register(sock, select.EPOLLIN)
                elif descriptor == datagrams.fileno():
                    datagrams.sendto(*datagrams.recvfrom(CHUNK))
                elif not _echo(connections[descriptor]):
                    poll.unregister(descriptor)
                    connections.pop(descriptor).close()


def _echo(sock: socket.socket) -> bool:
    try:
        data = sock.recv(CHUNK)
        sock.sendall(data)
    except OSError:
        return False
    return bool(data)


class Tally:
    """The datagrams of the latest run that have arrived, and the times of the first and the last."""

    def __init__(self) -> None:
        self._start(0)

    def _start(self, run: int) -> None:
        self._run = run
        self._seen = bytearray(MAX_DATAGRAMS)
        self._first = self._last = time.perf_counter()

    def add(self, datagram: bytearray) -> None:
        """Note one datagram; the first of a new run starts a new count."""
        run, number = DATAGRAM.unpack_from(datagram)
        if run != self._run:
            self._start(run)
        self._seen[number] = 1
        self._last = time.perf_counter()

    def answer(self) -> bytes:
        """Pack the count, in which a repeated datagram counts once."""
        return ANSWER.pack(self._run, self._seen.count(1), self._last - self._first)


def sink(port: int) -> None:
    """Serve until stopped."""
    tally, buffer = Tally(), bytearray(CHUNK)
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        sock.bind((LOOPBACK, port))
        while True:
            size, sender = sock.recvfrom_into(buffer)
            if size == DATAGRAM_SIZE:
                tally.add(buffer)
            elif buffer.startswith(QUERY):
                sock.sendto(tally.answer(), sender)


def source(port: int) -> None:
    """Serve until stopped, a thread for each connection."""
    with _listen(port) as listener:
        while True:
            sock, _ = listener.accept()
            threading.Thread(target=_pour, args=(sock,), daemon=True).start()


def _pour(sock: socket.socket) -> None:
    chunk = bytes(CHUNK)
    with sock:
        try:
            while True:
                sock.sendall(chunk)
        except OSError:
            return


if __name__ == "__main__":
    {"echo": echo, "sink": sink, "source": source}[sys.argv[1]](int(sys.argv[2]))

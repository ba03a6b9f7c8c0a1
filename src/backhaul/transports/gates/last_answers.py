"""Answers after which a gate closes the connection: refusals, and those to probes, which may be due later."""

import asyncio
import functools
import socket
from typing import Final

from backhaul.net.closing import linger
from backhaul.net.poller import Poller
from backhaul.net.sending import send_whole
from backhaul.transports.settings import GateLimits

_PATIENCE: Final = 10.0  # seconds for a client that reads nothing


class LastAnswers:
    """Owns connections until their answer has left; nothing is sent before it is due.

    At most ``late_answers`` of them wait, and the one that has waited for longest makes room: a recorded probe may be
    among them.
    """

    def __init__(self, poller: Poller, limits: GateLimits) -> None:
        self._loop = asyncio.get_running_loop()
        self._poller = poller
        self._limits = limits
        self._waiting: dict[socket.socket, asyncio.TimerHandle] = {}

    def add(self, sock: socket.socket, answer: bytes, delay: float) -> None:
        """Send ``answer`` in ``delay`` seconds, unless the client is gone by then, and close."""
        if len(self._waiting) >= self._limits.late_answers:
            self._drop(next(iter(self._waiting)))
        if delay <= 0:
            self._send(sock, answer)
            return
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 0)  # its probes would remind a NAT of the connection
        self._waiting[sock] = self._loop.call_later(min(self._limits.answer_delay, delay), self._due, sock, answer)
        self._poller.on_readable(sock, functools.partial(self._drop, sock))

    def close(self) -> None:
        """Close all connections."""
        for sock in list(self._waiting):
            self._drop(sock)

    def _due(self, sock: socket.socket, answer: bytes) -> None:
        self._poller.ignore_readable(sock)
        self._send(sock, answer)

    def _send(self, sock: socket.socket, answer: bytes) -> None:
        self._waiting[sock] = self._loop.call_later(_PATIENCE, self._drop, sock)
        leave = functools.partial(self._drop, sock)
        send_whole(self._poller, sock, answer, leave, lambda _error: leave())

    def _drop(self, sock: socket.socket) -> None:
        self._waiting.pop(sock).cancel()
        linger(self._poller, sock)

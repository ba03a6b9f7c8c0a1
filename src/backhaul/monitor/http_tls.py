"""TLS for the HTTP server, with bounds for handshakes.

The ssl module works on buffers in memory here, so that a visitor counts as one from the first byte, whatever the event
loop, and a request in clear gets an answer in clear.
"""

import asyncio
import contextlib
import logging
import ssl
import time
from asyncio import StreamReader, StreamWriter
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus
from typing import Any, Final

from backhaul.failures import network_of
from backhaul.net.log_throttle import LogThrottle
from backhaul.net.tls import ServerContext

from .http_connection import ClearConnection, Connection, discard
from .http_messages import Response, encode

log = logging.getLogger("backhaul.monitor")

MAX_HANDSHAKES: Final = 16
"""Handshakes of one network at a time. A browser opens six connections; beyond the limit new ones are closed."""

PATIENCE: Final = 10.0
"""Seconds for a handshake, which takes two or three round trips."""

SHARE: Final = 0.25
"""The part of the process's time that all handshakes may take, as at the gate of the tunnel."""

_BURST: Final = 0.05  # seconds of work that idle time may save up
_SLICE: Final = 1 << 16  # bytes that are encrypted at once: 0.1 ms
_READ_SIZE: Final = 1 << 14  # a record's payload (RFC 8446, 5.1)
_HANDSHAKE: Final = b"\x16"  # the type of the first record of TLS (RFC 8446, 5.1)
_IN_CLEAR: Final = Response(b"this page is served over TLS: use https://\n", status=HTTPStatus.BAD_REQUEST)


class Turns:
    """Turns for work in the event loop, one after the other, which take at most ``share`` of the time together."""

    def __init__(self, share: float, clock: Callable[[], float] = time.perf_counter) -> None:
        self._share = share
        self._clock = clock
        self._turn = asyncio.Lock()
        self._affordable_at = clock() - _BURST

    async def take(self, work: Callable[[], object]) -> None:
        """Wait for a turn, and do the work in it."""
        async with self._turn:
            await asyncio.sleep(max(0.0, self._affordable_at - self._clock()))
            began = self._clock()
            try:
                work()
            finally:
                spent = self._clock() - began
                self._affordable_at = max(self._affordable_at, began - _BURST) + spent / self._share


class TlsConnection:
    """A connection within TLS, on the streams of one in clear."""

    def __init__(self, context: ServerContext, clear: Connection) -> None:
        self.peer = clear.peer
        self.certified = False
        self._clear = clear
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing)

    async def shake_hands(self, hello: bytes, turns: Turns) -> None:
        """Do the handshake, which begins with the bytes ``hello``; raise OSError."""
        self._incoming.write(hello)
        while not await self._step(turns):
            await self._receive()
        self.certified = is_valid(self._tls.getpeercert(), time.time())

    async def read(self, most: int) -> bytes:
        """Return at most this many bytes, none at the end; raise OSError."""
        while True:
            try:
                return self._tls.read(most)
            except ssl.SSLWantReadError:
                await self._flush()  # the answer to an update of keys
                await self._receive()

    async def send(self, *pieces: bytes) -> None:
        """Send bytes, and return when the system has them all; raise OSError."""
        for piece in pieces:
            for begin in range(0, len(piece), _SLICE):
                self._tls.write(piece[begin : begin + _SLICE])
                if self._outgoing.pending >= _SLICE:
                    await self._flush()
        await self._flush()

    async def end(self) -> None:
        """Tell the visitor that no more bytes follow; raise OSError."""
        with contextlib.suppress(OSError):  # it then waits for the visitor's own end
            self._tls.unwrap()
        await self._flush()

    async def _step(self, turns: Turns) -> bool:
        """Continue the handshake with the received bytes; return whether it is complete."""
        try:
            await turns.take(self._tls.do_handshake)
        except ssl.SSLWantReadError:
            return False
        finally:
            await self._flush()  # after a failure: the alert
        return True

    async def _receive(self) -> None:
        if data := await self._clear.read(_READ_SIZE):
            self._incoming.write(data)
        else:
            self._incoming.write_eof()

    async def _flush(self) -> None:
        if data := self._outgoing.read():
            await self._clear.send(data)


class Handshakes:
    """Makes connections of visitors within TLS; pass it to the HTTP server, which calls it."""

    def __init__(
        self,
        context: ServerContext,
        *,
        patience: float = PATIENCE,
        most: int = MAX_HANDSHAKES,
        share: float = SHARE,
    ) -> None:
        """``most`` bounds the handshakes of one network at a time."""
        self._context = context
        self._patience = patience
        self._most = most
        self._turns = Turns(share)
        self._running: Counter[str] = Counter()
        self._throttle = LogThrottle(log)

    async def __call__(self, reader: StreamReader, writer: StreamWriter) -> Connection:
        """Make a connection; raise OSError or EOFError."""
        clear = ClearConnection(reader, writer)
        with self._counted(network_of(clear.peer)):
            async with asyncio.timeout(self._patience):
                return await self._secured(clear)

    async def _secured(self, clear: Connection) -> Connection:
        hello = await _hello(clear, self._patience)
        connection = TlsConnection(self._context, clear)
        try:
            await connection.shake_hands(hello, self._turns)
        except ssl.SSLCertVerificationError as error:
            self._throttle.warn(
                clear.peer,
                f"monitoring page: client certificate of {clear.peer} refused: {error.verify_message}; "
                "it must be a valid one of an authority in web_client_ca",
            )
            raise
        return connection

    @contextlib.contextmanager
    def _counted(self, network: str) -> Iterator[None]:
        if self._running[network] >= self._most:
            raise ConnectionAbortedError("too many handshakes of this network")
        self._running[network] += 1
        try:
            yield
        finally:
            self._running[network] -= 1
            if not self._running[network]:
                del self._running[network]


async def _hello(clear: Connection, patience: float) -> bytes:
    """Return the first bytes of a handshake; answer those of a request in clear, and raise OSError."""
    hello = await clear.read(_READ_SIZE)
    if not hello:
        raise EOFError
    if not hello.startswith(_HANDSHAKE):
        await clear.send(encode(_IN_CLEAR, ()), _IN_CLEAR.body)
        await clear.end()
        await discard(clear, patience)
        raise ConnectionAbortedError("a request in clear")
    return hello


def is_valid(certificate: Mapping[str, Any] | None, now: float) -> bool:
    """Return whether a verified certificate is still valid: a resumed session does not check it again."""
    return certificate is not None and ssl.cert_time_to_seconds(str(certificate["notAfter"])) > now

"""One request of a visitor, and the means to answer it."""

import asyncio
import contextlib
from typing import Final

from backhaul.addresses import plain_ip
from backhaul.transports.settings import GateLimits

from .body import Body
from .head import BadRequestError, Head
from .nginx import LOAD_SIZE, Answer, FileRange, encode_head
from .stream import Stream

_TLS_PIECE: Final = 1 << 15  # bytes of a file in memory for each visitor
_HTTP_11: Final = 11
_PORTS: Final = {"http": 80, "https": 443}


class Exchange:
    """A request, whose head is complete, on its connection."""

    def __init__(
        self, stream: Stream, head: Head, raw: bytearray, body: Body, limits: GateLimits, *, last: bool
    ) -> None:
        """``raw`` holds the bytes of the head; ``last`` is true if the connection takes no more requests."""
        self.stream = stream
        self.head = head
        self.raw = raw
        self.body = body
        self.limits = limits
        self.wants_more = _wants_more(head) and not last

    @property
    def scheme(self) -> str:
        """The scheme of the URLs of this server."""
        return "https" if self.stream.secure else "http"

    @property
    def ip(self) -> str:
        """The visitor's address. Raises OSError when the connection is gone."""
        return plain_ip(self.stream.sock.getpeername())

    def location(self, path: str) -> str:
        """Return the URL of a path on this server."""
        address = self.stream.sock.getsockname()
        port = "" if address[1] in {0, _PORTS[self.scheme]} else f":{address[1]}"
        return f"{self.scheme}://{self.head.host or plain_ip(address)}{port}{path}{self.head.query}"

    def body_broken(self) -> bool:
        """Take the bytes of the body that have arrived; return whether they are invalid."""
        try:
            self.body.take(self.stream.buffer)
        except BadRequestError:
            return True
        return False

    async def send(self, answer: Answer) -> bool:
        """Send an answer; return whether the connection stays open."""
        keep = self.wants_more and not answer.closing
        if answer.continues and self.expects_more:
            await self.go_on()
        beginning = encode_head(answer, self.head, keep=self.wants_more if not answer.says_closing else keep)
        for part in answer.body if self.head.method != "HEAD" else ():
            if isinstance(part, FileRange):
                await self.stream.send(beginning)
                await self._send_range(answer, part)
                beginning = b""
            else:
                beginning += part
        await self.stream.send(beginning)
        return keep

    async def reply(self, answer: Answer) -> bool:
        """Send an answer and discard the body; return whether the connection stays open."""
        broken = self.body_broken()
        answer.closing = answer.closing or broken
        keep = await self.send(answer)
        return not broken and await self._discard() and keep

    @property
    def expects_more(self) -> bool:
        """True if the visitor waits for permission to send its body."""
        return self.head.version >= _HTTP_11 and (self.head.header(b"expect") or b"").lower() == b"100-continue"

    async def go_on(self) -> None:
        """Tell the visitor to send the body."""
        await self.stream.send(b"HTTP/1.1 100 Continue\r\n\r\n")

    async def _send_range(self, answer: Answer, part: FileRange) -> None:
        file, start, end = answer.file, part.start, part.start + part.size
        piece = _TLS_PIECE if self.stream.secure else LOAD_SIZE
        while file and start < end:
            size = min(piece, end - start)
            if self.stream.secure:
                await self.stream.send(await file.read(start, size))
            else:
                await file.load(start, size)
                await self.stream.send_file(file.fd, start, size)
            start += size

    async def _discard(self) -> bool:
        """Discard the rest of the body; return whether it has ended cleanly."""
        with contextlib.suppress(TimeoutError, BadRequestError):
            async with asyncio.timeout(self.limits.lingering_time):
                while not self.body.done:
                    async with asyncio.timeout(self.limits.lingering_timeout):
                        if not await self.stream.fill():
                            return False
                    self.body.take(self.stream.buffer)
                return True
        return False


def _wants_more(head: Head) -> bool:
    connection = (head.header(b"connection") or b"").lower()
    if b"close" in connection:
        return False
    return b"keep-alive" in connection or head.version >= _HTTP_11

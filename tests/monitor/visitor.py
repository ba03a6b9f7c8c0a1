"""A visitor of the monitor's HTTP server."""

import asyncio
from dataclasses import dataclass

PATIENCE = 20.0


@dataclass(frozen=True)
class Answer:
    """A parsed answer; names of headers are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


async def exchange(port: int, *pieces: bytes) -> bytes:
    """Send the pieces one after the other, and return all bytes up to the end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(PATIENCE):
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
            return await reader.read()
    finally:
        writer.transport.abort()


def parse(raw: bytes) -> Answer:
    """Parse one whole answer."""
    head, _, body = raw.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    version, code, _ = status.split(" ", 2)
    assert version == "HTTP/1.1"
    return Answer(int(code), headers, body)


async def get(port: int, path: str, *headers: str, method: str = "GET") -> Answer:
    """Request a path; ``headers`` are whole lines."""
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", *headers, "", ""]
    return parse(await exchange(port, "\r\n".join(lines).encode()))

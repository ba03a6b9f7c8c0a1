"""Events that go to a web server over TLS, and the authorities that vouch for it."""

import asyncio
import contextlib
import shutil
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.cert import certificate
from tests.support.clock import Clock

from backhaul.system.event_ways import way_to

pytestmark = pytest.mark.both_loops
EVENT = b'{"event":"lost"}'


@contextlib.asynccontextmanager
async def receiver(name: str, events: list[bytes]) -> AsyncIterator[str]:
    """Yield the URL of a web server with this certificate, which accepts all events."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        events.append(await reader.readexactly(len(EVENT)))
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        await writer.drain()
        writer.close()

    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(*certificate(name))
    async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls) as server:
        yield f"https://localhost:{server.sockets[0].getsockname()[1]}/hook"


@pytest.fixture
def authorities(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the file of the system's authorities, which do not vouch for the receiver."""
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authorities"))
    shutil.copy(certificate("other")[0], tmp_path / "authorities")
    return tmp_path / "authorities"


async def test_new_authorities_count_after_a_minute(authorities: Path) -> None:
    events: list[bytes] = []
    clock = Clock()
    async with receiver("receiver", events) as url:
        _, send = way_to(url, clock=clock)
        with pytest.raises(ssl.SSLCertVerificationError):
            await send(EVENT)
        shutil.copy(certificate("receiver")[0], authorities)
        clock.now += 59.0
        with pytest.raises(ssl.SSLCertVerificationError):  # hundreds of events do not read hundreds of times
            await send(EVENT)
        clock.now += 1.0
        await send(EVENT)
    assert events == [EVENT]

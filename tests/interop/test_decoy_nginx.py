"""The decoy beside nginx: the same requests get the same answers, header by header."""

import asyncio
import os
import re
import ssl
from dataclasses import replace
from email.utils import formatdate
from pathlib import Path
from typing import NamedTuple

import pytest
from tests.support.net import HOST, free_port
from tests.support.nginx import NOTHING, files, nginx
from tests.support.probes import OVER_TLS, PROBES, get
from tests.support.tunnel import Net

PATIENCE = 10.0  # seconds for an answer that the other server has given
QUIET = 0.3  # seconds without a byte after which the answer of nginx counts as complete
ATTEMPTS = 3  # a busy machine may be silent for longer
AT_A_TIME = 40  # fewer than the visitors of one address that a decoy allows


class Answer(NamedTuple):
    """The answer to a probe."""

    data: bytes
    closed: bool


@pytest.fixture
def site(tmp_path: Path) -> Path:
    root = tmp_path / "site"
    (root / "pages").mkdir(parents=True)
    (root / "empty").mkdir()
    (root / "a b").mkdir()
    (root / "index.html").write_text("<h1>Garden</h1>")
    (root / "pages" / "index.html").write_text("<h1>Pages</h1>")
    (root / "style.css").write_text("h1 { color: green }")
    (root / "none.css.unknown").write_text("")
    (root / "UPPER.JPG").write_bytes(b"jpeg")
    (root / ".htpasswd").write_text("nobody's business")
    os.mkfifo(root / "pipe")
    return root


def etag_of(site: Path) -> str:
    status = (site / "style.css").stat()
    return f'"{int(status.st_mtime):x}-{status.st_size:x}"'


def conditional(site: Path) -> dict[str, bytes]:
    """Return requests that depend on the answers to others."""
    tag = etag_of(site).encode()
    date = formatdate((site / "style.css").stat().st_mtime, usegmt=True).encode()
    lines = {
        "the present tag": b"If-None-Match: " + tag,
        "a weak present tag": b"If-None-Match: W/" + tag,
        "one of several tags": b'If-None-Match: "a", ' + tag,
        "the present tag must match": b"If-Match: " + tag,
        "a weak tag must match": b"If-Match: W/" + tag,
        "the present date": b"If-Modified-Since: " + date,
        "unmodified since the present date": b"If-Unmodified-Since: " + date,
        "date and another tag": b'If-None-Match: "a"\r\nIf-Modified-Since: ' + date,
        "tag and another date": b"If-None-Match: " + tag + b"\r\nIf-Modified-Since: Mon, 01 Jan 2001 00:00:00 GMT",
        "a range if the tag is present": b"Range: bytes=0-1\r\nIf-Range: " + tag,
        "a range if another tag is present": b'Range: bytes=0-1\r\nIf-Range: "a"',
        "a range if the date is present": b"Range: bytes=0-1\r\nIf-Range: " + date,
        "a range if another date is present": b"Range: bytes=0-1\r\nIf-Range: Mon, 01 Jan 2001 00:00:00 GMT",
    }
    return {name: get("/style.css", line + b"\r\n") for name, line in lines.items()}


async def connect(port: int, *, tls: bool) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    context = None
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return await asyncio.open_connection(HOST, port, ssl=context)


async def receive(reader: asyncio.StreamReader, size: int, quiet: float) -> Answer:
    """Read until the end, or until nothing has arrived for a while after ``size`` bytes."""
    received = b""
    while True:
        try:
            async with asyncio.timeout(quiet if len(received) >= size else PATIENCE):
                data = await reader.read(1 << 16)
        except TimeoutError:
            return Answer(received, closed=False)
        except (ConnectionError, ssl.SSLError):
            data = b""
        if not data:
            return Answer(received, closed=True)
        received += data


def form(data: bytes, port: int) -> bytes:
    """Remove differences between any two servers: the time, their ports, the numbers of boundaries."""
    data = re.sub(rb"\r\nDate: \w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT\r\n", b"\r\nDate: now\r\n", data)
    data = re.sub(rb"0000000000\d{10}", b"BOUNDARY", data)
    return data.replace(f":{port}/".encode(), b":PORT/")


async def ask(port: int, probe: bytes, size: int, quiet: float, *, tls: bool) -> Answer:
    reader, writer = await connect(port, tls=tls)
    try:
        writer.write(probe)
        return await receive(reader, size, quiet)
    finally:
        writer.transport.abort()


async def compare(probe: bytes, theirs: int, ours: int, turn: asyncio.Semaphore, *, tls: bool, least: int = 1) -> str:
    """Return the differences of the answers, empty without any; nginx sends at least ``least`` bytes."""
    async with turn:
        for _ in range(ATTEMPTS):
            expected = await ask(theirs, probe, least, QUIET, tls=tls)
            got = await ask(ours, probe, len(expected.data), PATIENCE if expected.closed else QUIET, tls=tls)
            if got.closed == expected.closed and form(got.data, ours) == form(expected.data, theirs):
                return ""
    return f"\n  nginx {expected}\n  decoy {got}"


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("kind", ["404", "directory"])
async def test_no_probe_distinguishes_the_decoy_from_nginx(
    net: Net, site: Path, tmp_path: Path, kind: str, *, tls: bool
) -> None:
    net.transport = "wss" if tls else "ws"
    port = free_port()
    await net.server(port, lines=f'decoy = "{site if kind == "directory" else kind}"')
    turn = asyncio.Semaphore(AT_A_TIME)
    probes = {name: PROBES[name] for name in OVER_TLS} if tls else PROBES | conditional(site)
    async with nginx(tmp_path, files(site) if kind == "directory" else NOTHING, tls=tls) as theirs:
        found = await asyncio.gather(*(compare(probe, theirs, port, turn, tls=tls) for probe in probes.values()))
    differences = {name: difference for name, difference in zip(probes, found, strict=True) if difference}
    assert not differences, "".join(f"\n{name}{text}" for name, text in differences.items())


# Bytes to the port of TLS that are no TLS, or none that the server supports.
RAW = {
    "plain": get(),
    "plain nonsense": b"hello\r\n\r\n",
    "plain without Host": b"GET / HTTP/1.1\r\n\r\n",
    "an unfinished plain request": b"GET / HT",
    "an alert": b"\x15\x03\x01\x00\x02\x01\x00",
    "half a record": b"\x16\x03\x01",
    "a broken record": b"\x16\x03\x01aaaaaaaaaaaaaaaaaaaa",
    "SSL 2": b"\x80\x01\x02aaaaaaaaaaaaaaa",
    "zeros": bytes(32),
}


def hello(*protocols: str) -> bytes:
    """Return the first bytes of a client with these versions and ciphers."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_alpn_protocols(list(protocols))
    sent = ssl.MemoryBIO()
    tls = context.wrap_bio(ssl.MemoryBIO(), sent, server_hostname="example.com")
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    return sent.read()


async def test_nor_do_other_bytes_on_the_port_of_tls(net: Net, tmp_path: Path) -> None:
    net.transport = "wss"
    port = free_port()
    await net.server(port)
    turn = asyncio.Semaphore(AT_A_TIME)
    probes = RAW | {f"ALPN {name}": hello(name) for name in ("h2", "spdy/1")}
    async with nginx(tmp_path, NOTHING, tls=True) as theirs:
        found = await asyncio.gather(
            *(compare(probe, theirs, port, turn, tls=False, least=0) for probe in probes.values())
        )
    differences = {name: difference for name, difference in zip(probes, found, strict=True) if difference}
    assert not differences, "".join(f"\n{name}{text}" for name, text in differences.items())


@pytest.mark.parametrize("data", [b"", b"GET / HT", get()], ids=["silent", "unfinished", "after an answer"])
async def test_a_visitor_without_a_request_is_closed_in_the_same_way(net: Net, tmp_path: Path, data: bytes) -> None:
    net.limits = replace(net.limits, head_timeout=0.3, keepalive_timeout=0.3)
    net.transport = "ws"
    port = free_port()
    await net.server(port)
    async with nginx(tmp_path, NOTHING, keepalive="300ms", timeouts="client_header_timeout 300ms;") as theirs:
        answers = []
        for one in (theirs, port):
            visitor = await net.dial(one)
            await visitor.send(data)
            answers.append(form(await visitor.receive_all(), one))
    assert answers[0] == answers[1]


@pytest.mark.parametrize("protocols", [["h2", "http/1.1"], ["http/1.0"], []], ids=["both", "old", "none"])
async def test_the_same_protocol_is_chosen(net: Net, tmp_path: Path, protocols: list[str]) -> None:
    net.transport = "wss"
    port = free_port()
    await net.server(port)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if protocols:
        context.set_alpn_protocols(protocols)
    async with nginx(tmp_path, NOTHING, tls=True) as theirs:
        chosen = []
        for one in (theirs, port):
            _, writer = await asyncio.open_connection(HOST, one, ssl=context)
            chosen.append(writer.get_extra_info("ssl_object").selected_alpn_protocol())
            writer.transport.abort()
    assert chosen[0] == chosen[1]

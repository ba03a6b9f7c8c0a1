"""The doctor and TLS: each fault of a certificate has its finding, and the finding its remedy."""

import asyncio
import functools
import socket
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.support.doctor import SOON, only, travel, verdicts
from tests.support.net import HOST, free_port
from tests.support.tunnel import Net, client_config, server_config

from backhaul.doctor.channel import Opener
from backhaul.doctor.finding import Finding, Verdict
from backhaul.doctor.names import Place
from backhaul.doctor.reach import connected
from backhaul.system import certificate


@pytest.fixture
def wss_net(net: Net) -> Net:
    net.transport = "wss"
    return net


def pair(folder: Path, *names: str, days: int = 90, age: int = 0) -> certificate.Pair:
    """Write a key and a certificate that was made ``age`` days ago."""
    made = certificate.make(names or (HOST,), days, datetime.now(UTC) - timedelta(days=age))
    certificate.write(made, folder, force=True)
    return made


async def sees(net: Net, folder: Path, lines: str = "", **around: object) -> list[Finding]:
    """Start a server with the pair in ``folder``; return the findings of a client."""
    port = free_port()
    files = {"tls_cert": str(folder / certificate.CERTIFICATE), "tls_key": str(folder / certificate.KEY)}
    await net.run(server_config("wss", f"{HOST}:{port}", [], **files))
    return await travel(client_config("wss", f"{HOST}:{port}", lines), **around)


def known(folder: Path) -> str:
    return f'tls_verify = true\ntls_ca = "{folder / certificate.CERTIFICATE}"'


async def test_a_verified_certificate(wss_net: Net, tmp_path: Path) -> None:
    pair(tmp_path)
    found = await sees(wss_net, tmp_path, known(tmp_path))
    assert set(verdicts(found).values()) == {Verdict.OK}
    assert found[2].text == f"certificate for {HOST}, valid for 90 d; verified"


async def test_one_that_soon_expires(wss_net: Net, tmp_path: Path) -> None:
    pair(tmp_path, days=10)
    finding = only(await sees(wss_net, tmp_path), Verdict.WARNING)
    assert finding.text == "the certificate expires in 10 d"
    assert "renew it on the server" in finding.remedy


async def test_an_expired_one_that_is_not_verified(wss_net: Net, tmp_path: Path) -> None:
    pair(tmp_path, days=10, age=15)
    finding = only(await sees(wss_net, tmp_path), Verdict.WARNING)
    assert finding.text == "the certificate expired 5 d ago"


async def test_an_expired_one(wss_net: Net, tmp_path: Path) -> None:
    pair(tmp_path, days=10, age=15)
    found = await sees(wss_net, tmp_path, known(tmp_path))
    finding = only(found)
    assert finding.text == "the server's certificate is refused: certificate has expired"
    assert finding.remedy == "set the clock that is wrong, or renew the server's certificate"
    assert verdicts(found)["clock"] is Verdict.OK
    assert "handshake" not in verdicts(found)


async def test_a_clock_that_makes_it_look_expired(wss_net: Net, tmp_path: Path) -> None:
    pair(tmp_path, days=10, age=15)
    found = await sees(wss_net, tmp_path, known(tmp_path), now=lambda: time.time() + 86400 * 20)
    assert only(found, Verdict.WARNING).text == "this machine's clock is 20 d ahead of the server's"


async def test_one_for_another_name(wss_net: Net, tmp_path: Path) -> None:
    pair(tmp_path, "other.example", "192.0.2.1")
    finding = only(await sees(wss_net, tmp_path, known(tmp_path)))
    assert "IP address mismatch" in finding.text
    assert finding.remedy == "set tls_server_name to a name of the certificate: other.example, 192.0.2.1"


async def test_one_of_an_unknown_authority(wss_net: Net, tmp_path: Path) -> None:
    made = pair(tmp_path)
    finding = only(await sees(wss_net, tmp_path, "tls_verify = true"))
    assert finding.text == "the server's certificate is refused: self-signed certificate"
    assert f'set tls_fingerprint = "{made.fingerprint}" in place of tls_verify' in finding.remedy


async def test_one_with_another_fingerprint(wss_net: Net, tmp_path: Path) -> None:
    made = pair(tmp_path)
    finding = only(await sees(wss_net, tmp_path, f'tls_fingerprint = "{"00" * 32}"'))
    assert f"has the fingerprint {made.fingerprint}, not tls_fingerprint" in finding.text
    assert "otherwise an attacker listens" in finding.remedy


async def test_one_with_this_fingerprint(wss_net: Net, tmp_path: Path) -> None:
    made = pair(tmp_path)
    found = await sees(wss_net, tmp_path, f'tls_fingerprint = "{made.fingerprint}"')
    assert set(verdicts(found).values()) == {Verdict.OK}
    assert found[2].text.endswith("; it matches tls_fingerprint")


async def test_one_for_the_name_in_the_file(wss_net: Net, tmp_path: Path) -> None:
    pair(tmp_path, "other.example")
    found = await sees(wss_net, tmp_path, f'{known(tmp_path)}\ntls_server_name = "other.example"')
    assert set(verdicts(found).values()) == {Verdict.OK}


async def test_a_server_without_tls(net: Net) -> None:
    net.transport = "ws"
    port = free_port()
    await net.server(port)
    finding = only(await travel(client_config("wss", f"{HOST}:{port}")))
    assert finding.text == "TLS handshake failed: wrong version number"
    assert finding.remedy.startswith('the server speaks no TLS on this port: set transport = "ws"')


async def test_a_server_of_another_transport(net: Net) -> None:
    net.transport = "tcpmux"
    port = free_port()
    await net.server(port)
    finding = only(await travel(client_config("wss", f"{HOST}:{port}")))
    assert finding.text == "TLS handshake failed: the other end closed the connection"
    assert finding.remedy.startswith("does the server run wss on this port")


async def test_a_server_that_expects_tls(wss_net: Net, tmp_path: Path) -> None:
    port = free_port()
    await wss_net.server(port)
    finding = only(await travel(client_config("ws", f"{HOST}:{port}")))
    assert "the server answered 400" in finding.text
    assert finding.remedy == 'set transport = "wss" if the server speaks TLS'


async def test_a_server_that_never_answers(net: Net) -> None:
    listener = net.listen()
    finding = only(await travel(client_config("wss", f"{HOST}:{listener.port}"), waits=SOON))
    assert finding.text == "no answer to the TLS handshake"
    assert "does it run wss?" in finding.remedy


@asynccontextmanager
async def proxy(port: int, folder: Path, largest: int = 1 << 16, age: int = 0) -> AsyncIterator[int]:
    """Run a proxy with TLS of its own, which swallows larger requests; yield its port."""
    pair(folder, age=age)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / certificate.CERTIFICATE, folder / certificate.KEY)
    gone = asyncio.Event()

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):  # the doctor does not say goodbye
            request = await reader.read(1 << 16)
            if len(request) > largest:
                await gone.wait()
            elif request:
                inside, outside = await asyncio.open_connection(HOST, port)
                outside.write(request)
                writer.write(await inside.read(1 << 16))
                outside.close()
        writer.close()

    server = await asyncio.start_server(carry, HOST, 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        gone.set()
        server.close()


async def test_tls_that_ends_in_between(net: Net, tmp_path: Path) -> None:
    net.transport = "ws"
    port = free_port()
    await net.server(port, lines='security = "required"')
    async with proxy(port, tmp_path) as front:
        finding = only(await travel(client_config("wss", f"{HOST}:{front}")))
    assert "TLS is terminated between client and server" in finding.text
    assert "set tls_verify = true on the client" in finding.remedy


async def test_large_messages_that_are_lost(net: Net, tmp_path: Path) -> None:
    net.transport = "ws"
    port = free_port()
    await net.server(port)
    async with proxy(port, tmp_path, 1500) as front:
        finding = only(await travel(client_config("wss", f"{HOST}:{front}"), waits=SOON))
    assert finding.text == "large messages are lost, whatever the size of their packets"
    assert "something in between limits messages" in finding.remedy


async def test_a_server_with_an_expired_certificate_that_tells_no_time(tmp_path: Path) -> None:
    async with proxy(0, tmp_path, 0, age=100) as front:
        found = await travel(client_config("wss", f"{HOST}:{front}", known(tmp_path)), waits=SOON)
    assert only(found) == found[-1]
    assert found[-1].subject == "tls"


@pytest.mark.both_loops
async def test_connections_are_left_at_once_when_the_line_is_down(wss_net: Net) -> None:
    port = free_port()
    await wss_net.server(port)
    box = wss_net.middlebox(port)
    connect = functools.partial(connected, Place(socket.AF_INET, (HOST, box.port)), SOON.connect)
    opener = Opener(client_config("wss", f"{HOST}:{box.port}"), SOON, connect)
    for _ in range(3):
        async with opener.open() as channel:
            assert channel.certificate
            for path in box.paths:
                path.freeze()

"""An attacker has recorded a whole protected tunnel, and replays everything."""

import contextlib
import re
from collections.abc import AsyncIterator, Callable

import pytest
from tests.support.net import Peer, until
from tests.support.recorded import PATHS, RecordedTunnel, begins_control_channel, recorded
from tests.support.tunnel import TOKEN
from tests.support.web import switching

ACCEPT = re.compile(rb"Sec-WebSocket-Accept: [^\r]+")
ENCRYPTION = {"protected": "", "encrypted": "encryption = true"}


@pytest.fixture(params=ENCRYPTION)
def lines(request: pytest.FixtureRequest) -> str:
    return ENCRYPTION[request.param]


@pytest.fixture(params=PATHS)
async def tunnel(request: pytest.FixtureRequest, lines: str) -> AsyncIterator[RecordedTunnel]:
    """Record a tunnel with users of each kind."""
    async with recorded(request.param, lines) as tunnel:
        await tunnel.use()
        await tunnel.use()
        yield tunnel


async def reaction(peer: Peer) -> bytes:
    """Return what the server answers before it closes the connection; the head if it is the decoy's."""
    answer = bytearray()
    with contextlib.suppress(ConnectionResetError):
        while not answer.startswith(b"HTTP/1.1 404 ") and (piece := await peer.receive_some()):
            answer += piece
    return bytes(answer)


async def play_to_server(tunnel: RecordedTunnel, *, from_clients_address: bool = True) -> list[bytes]:
    """Send everything that the client has sent; return the answers."""
    answers = []
    for recording in list(tunnel.between.recordings):
        peer = await tunnel.net.dial(tunnel.bind_port)
        await peer.send(b"".join(recording.up))
        answers.append(await reaction(peer))
        peer.close()
    sources = [tunnel.net.udp(tunnel.bind_port), *(tunnel.nat.outside if from_clients_address else ())]
    for datagram in tunnel.sealed_by_client():
        for source in sources:
            source.send(datagram)
    return answers


def played_to_client(streams: list[bytes], *, control: bool) -> Callable[[bytes], bytes | None]:
    """Return a service that answers control channels, or tunnel connections, with one stream after another.

    A WebSocket's answer fits its request, which needs no secret.
    """

    def answer(first: bytes) -> bytes | None:
        if not streams or begins_control_channel(first) != control:
            return None
        stream = streams.pop()
        return switched(stream, first) if first.startswith(b"GET ") else stream

    return answer


def switched(stream: bytes, request: bytes) -> bytes:
    """Return a recorded answer to another request, with the right ``Sec-WebSocket-Accept`` for this one."""
    (accept,) = ACCEPT.findall(switching(request))
    return ACCEPT.sub(accept, stream, count=1)


def admitted(answers: list[bytes], *, http: bool) -> list[bytes]:
    """Return the answers of a server that has taken an attacker for its client."""
    return [answer for answer in answers if not answer.startswith(b"HTTP/1.1 404 ") and (http or answer)]


async def test_to_the_server_beside_its_client(tunnel: RecordedTunnel, caplog: pytest.LogCaptureFixture) -> None:
    before = tunnel.books()
    assert not admitted(await play_to_server(tunnel), http=tunnel.http)
    assert tunnel.books() == before
    await tunnel.assert_users_undisturbed()
    assert "replaced" not in caplog.text


async def test_to_the_server_without_its_client(tunnel: RecordedTunnel, caplog: pytest.LogCaptureFixture) -> None:
    tunnel.forget_users()
    await tunnel.net.stop(tunnel.client)
    await until(lambda: not tunnel.server.tunnel.connected)
    before = tunnel.books()
    assert not admitted(await play_to_server(tunnel), http=tunnel.http)
    assert tunnel.books() == before
    assert tunnel.server.tunnel.opened == 1
    assert "replaced" not in caplog.text


async def test_to_the_next_server_before_its_client(tunnel: RecordedTunnel) -> None:
    """It answers the recorded handshake, and learns from the next bytes that its peer lacks the keys."""
    tunnel.forget_users()
    await tunnel.net.stop(tunnel.client)
    await tunnel.restart_server()
    before = tunnel.books()
    assert len(admitted(await play_to_server(tunnel), http=tunnel.http)) <= 1
    assert tunnel.books() == before
    assert not tunnel.server.tunnel.opened


async def test_to_the_next_server_beside_its_client(
    tunnel: RecordedTunnel, lines: str, caplog: pytest.LogCaptureFixture
) -> None:
    """In clear, everything from the address of a flow reaches its user, except messages of the same session."""
    tunnel.forget_users()
    await tunnel.restart_server()
    await tunnel.rested()
    await tunnel.use()
    before = tunnel.books()
    await play_to_server(tunnel, from_clients_address=bool(lines))
    assert tunnel.books() == before
    assert tunnel.server.tunnel.opened == 1
    await tunnel.assert_users_undisturbed()
    assert "replaced" not in caplog.text


async def play_to_client(tunnel: RecordedTunnel, *, control: bool) -> None:
    """Send every stream of the server in place of a control channel, or in place of a tunnel connection."""
    targets = tunnel.service.met, tunnel.datagrams.count
    streams = [stream for each in tunnel.between.recordings if (stream := b"".join(each.down))]
    for datagram in tunnel.sealed_by_server():
        tunnel.nat.to_client(datagram)
    tunnel.between.instead = played_to_client(streams, control=control)
    while streams:
        await tunnel.reconnect()
    await tunnel.reconnect()
    await tunnel.rested()
    assert (tunnel.service.met, tunnel.datagrams.count) == targets
    assert TOKEN.encode() not in tunnel.between.heard


async def test_to_a_client_that_connects(tunnel: RecordedTunnel) -> None:
    await play_to_client(tunnel, control=True)
    tunnel.forget_users()
    await tunnel.use()
    await tunnel.assert_users_undisturbed()


@pytest.mark.parametrize("tunnel", [path for path in PATHS if path != "udp"], indirect=True)
async def test_to_tunnel_connections_of_the_client(tunnel: RecordedTunnel) -> None:
    await play_to_client(tunnel, control=False)
    tunnel.forget_users()
    await tunnel.use()
    await tunnel.assert_users_undisturbed()

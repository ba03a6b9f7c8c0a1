"""A protected tunnel as a network sees it that inspects packets."""

from collections.abc import Callable, Iterator

import pytest
from tests.support.net import Peer, until
from tests.support.recorded import PATHS, SECRET, begins_control_channel, recorded
from tests.support.sealed import next_message, next_record
from tests.support.tunnel import TOKEN, Net

from backhaul.transports.gates.hello import offered_protocols
from backhaul.wire.frames import HEAD_SIZE

MANY = "connection_pool = 12"
SEALED = "encryption = true"
LENGTH = {"up": 2, "down": 3}  # bytes of the length: of a handshake and an admission, or of records
FIRST = 60  # bytes of a connection: more than any that could be a sign
RECORDS = 30  # that are all of one size in one of 10^50 runs


@pytest.mark.parametrize("transport", PATHS)
@pytest.mark.parametrize("lines", ["", SEALED], ids=["protected", "encrypted"])
async def test_no_secret_and_no_packet_twice(transport: str, lines: str) -> None:
    async with recorded(transport, lines, client=MANY) as tunnel:
        for _ in range(3):
            await tunnel.use()
        line = tunnel.line
        assert TOKEN.encode() not in line
        assert b"%d" % tunnel.service_port not in line
        assert (SECRET in line) != bool(lines)
        firsts = [way[0] for each in tunnel.between.recordings for way in (each.up, each.down) if way]
        firsts += tunnel.sealed_by_client() + tunnel.sealed_by_server()
        assert len(firsts) > 12
        assert len(set(firsts)) == len(firsts)


@pytest.mark.parametrize(("transport", "lines"), [("tcp", ""), ("tcp", SEALED), ("tcpmux", SEALED)])
async def test_no_byte_after_the_length_is_the_same_in_all_connections(transport: str, lines: str) -> None:
    async with recorded(transport, lines, client=MANY) as tunnel:
        for _ in range(8):
            await tunnel.use()
        for way in ("up", "down"):
            streams = [stream for each in tunnel.between.recordings if (stream := b"".join(getattr(each, way)))]
            after_length = [stream[LENGTH[way] : FIRST] for stream in streams]
            assert len(streams) >= 8
            assert all(len(set(column)) > 1 for column in zip(*after_length, strict=False))


@pytest.mark.parametrize("transport", PATHS)
@pytest.mark.parametrize("lines", ["", SEALED], ids=["protected", "encrypted"])
async def test_no_firewall_takes_the_first_packet_for_random_bytes(transport: str, lines: str) -> None:
    async with recorded(transport, lines, client=MANY) as tunnel:
        await tunnel.use()
        firsts = [each.up[0] for each in tunnel.between.recordings if each.up]
        assert firsts
        assert looks_random(bytes(range(128, 256)))
        assert not [first for first in firsts if looks_random(first)]


def looks_random(packet: bytes) -> bool:
    """Return whether a firewall ends a connection that begins with ``packet``.

    The rules are those of "How the Great Firewall of China Detects and Blocks Fully Encrypted Traffic" (USENIX Security
    2023, section 4), and of nDPI, without the exception for TLS.
    """
    printable = b"".join(b"x" if 0x20 <= byte <= 0x7E else b" " for byte in packet)
    bits = sum(byte.bit_count() for byte in packet) / len(packet)
    exempt = (
        not 3.4 < bits < 4.6,
        printable.startswith(b"x" * 6),
        printable.count(b"x") > len(packet) / 2,
        b"x" * 21 in printable,
        packet.startswith(b"GET "),
    )
    return not any(exempt)


@pytest.mark.parametrize("transport", ["tcp", "ws"])
async def test_heartbeats_and_their_answers_differ_in_size(transport: str) -> None:
    async with recorded(transport, heartbeat=0.002) as tunnel:
        (control,) = [each for each in tunnel.between.recordings if begins_control_channel(each.up[0])]
        for pieces in (control.down, control.up):
            await until(lambda pieces=pieces: len(records(b"".join(pieces))) >= RECORDS)  # type: ignore[misc]
            assert len(set(records(b"".join(pieces)))) > 1


def records(stream: bytes) -> list[int]:
    """Return the sizes of all records after the handshake."""
    if stream.startswith((b"GET ", b"HTTP/")):
        return list(sizes(stream[stream.index(b"\r\n\r\n") + 4 :], next_message))
    return list(sizes(stream[HEAD_SIZE + int.from_bytes(stream[:2]) :], next_record))


def sizes(data: bytes, size: Callable[[bytes], int]) -> Iterator[int]:
    """Yield the size of each record that is complete."""
    while data and len(data) >= (count := size(data)):
        yield count
        data = data[count:]


@pytest.mark.parametrize("transport", ["wss", "wssmux"])
async def test_the_client_offers_what_a_browser_offers_for_a_websocket(transport: str) -> None:
    async with Net(transport) as net:
        server = net.listen()
        await net.client(server.port)
        peer = await server.accept()
        assert offered_protocols(await client_hello(peer)) == [b"http/1.1"]


async def client_hello(peer: Peer) -> bytes:
    """Return the first record of TLS."""
    head = await peer.receive(5)
    return head + await peer.receive(int.from_bytes(head[3:]))

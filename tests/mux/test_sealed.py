"""Sessions all of whose bytes are sealed, with a man in the middle."""

import asyncio
import contextlib
import random
import socket
from collections.abc import AsyncIterator

import pytest
from tests.support.net import Peer, until, until_reset
from tests.support.sealed import Change, SealedTunnel, sealed_tunnel, seals
from tests.support.tunnel import Net
from tests.support.web import BINARY, CLOSE, PING, PONG, TEXT, frame

from backhaul.net.freezing import SMALL, YOUNG
from backhaul.relay.channel import FRAMES_AT
from backhaul.relay.outcome import Ending
from backhaul.security import kinds
from backhaul.security.records import KIND_SIZE, MAX_BODY, TAG_SIZE
from backhaul.security.session import Side
from backhaul.wire.smux import HEADER_SIZE
from backhaul.wire.smux.frames import PSH, SYN, pack_frame
from backhaul.wire.strings import encode_string
from backhaul.wire.websocket import encode

BULK = random.Random(0).randbytes(3_000_000)  # noqa: S311 - bytes that repeat nowhere
FORMS = {"stream": False, "messages": True}


@pytest.fixture(params=FORMS)
async def tunnel(request: pytest.FixtureRequest, net: Net) -> AsyncIterator[SealedTunnel]:
    async with sealed_tunnel(net, messages=FORMS[request.param]) as tunnel:
        yield tunnel


@pytest.fixture(params=[(False, True), (True, True), (True, False)], ids=["stream", "messages", "clear messages"])
async def records(request: pytest.FixtureRequest, net: Net) -> AsyncIterator[SealedTunnel]:
    messages, payload = request.param
    async with sealed_tunnel(net, messages=messages, payload=payload) as tunnel:
        yield tunnel


async def exchange(user: Peer, target: Peer, data: bytes = BULK) -> None:
    """Move ``data`` both ways at once."""
    receiving = [asyncio.ensure_future(end.receive(len(data))) for end in (user, target)]
    await asyncio.gather(user.send(data), target.send(data))
    assert all([await each == data for each in receiving])


async def test_neither_target_nor_payload_are_on_the_line(tunnel: SealedTunnel) -> None:
    user = await tunnel.user("secret.example:80", b"early words")
    target = await tunnel.target("secret.example:80")
    assert await target.receive(11) == b"early words"
    await exchange(user, target)
    line = bytes(tunnel.down.seen + tunnel.up.seen)
    for text in (b"secret", b"words", *(BULK[at : at + 16] for at in (0, 1_000_000, len(BULK) - 16))):
        assert text not in line


async def test_the_first_records_are_small_however_little_the_earliest_of_them_hold(tunnel: SealedTunnel) -> None:
    sizes: list[int] = []

    def note(_: int, record: bytes) -> list[bytes]:
        sizes.append(len(record))
        return [record]

    tunnel.down.change = note
    user, target = await tunnel.user(), await tunnel.target()
    for _ in range(100):
        await user.send(b"1")
        assert await target.receive(1) == b"1"
    await exchange(user, target)
    first_large = next(place for place, size in enumerate(sizes) if size > 2 * SMALL)
    assert YOUNG <= sum(sizes[:first_large]) < 2 * YOUNG


PUSHED = bytes(8)
AT = 5  # the number of the record that is altered


def flip(number: int, record: bytes) -> list[bytes]:
    return [record[:-1] + bytes([record[-1] ^ (number == AT)])]


def cut(number: int, record: bytes) -> list[bytes]:
    return [record[: -1 if number == AT else None]]


def repeat(number: int, record: bytes) -> list[bytes]:
    return [record, record] if number == AT else [record]


def drop(number: int, record: bytes) -> list[bytes]:
    return [] if number == AT else [record]


def reorder(number: int, record: bytes, kept: list[bytes] = []) -> list[bytes]:  # noqa: B006 - the record that waits
    if number == AT:
        kept[:] = [record]
        return []
    return [record, *kept] if number == AT + 1 else [record]


@pytest.mark.parametrize("change", [flip, cut, repeat, drop, reorder])
@pytest.mark.parametrize("direction", ["down", "up"])
async def test_an_altered_record_ends_the_session_and_none_of_it_reaches_a_user(
    tunnel: SealedTunnel, direction: str, change: Change, caplog: pytest.LogCaptureFixture
) -> None:
    user = await tunnel.user()
    target = await tunnel.target()
    sender, receiver = (user, target) if direction == "down" else (target, user)
    getattr(tunnel, direction).change = change
    arriving = asyncio.ensure_future(until_reset(receiver))
    with contextlib.suppress(ConnectionResetError, BrokenPipeError):
        while True:
            await sender.send(BULK)
    data = await arriving
    assert (BULK * (len(data) // len(BULK) + 1)).startswith(data)
    await tunnel.over()
    assert [outcome.ending for outcome in tunnel.ends] == [Ending.LOST, Ending.LOST]
    assert caplog.text.count("closed a session: ") == 1
    assert caplog.text.count("something between both ends alters their bytes") == 1


@pytest.mark.parametrize("form", FORMS)
async def test_a_record_read_with_the_end_of_the_handshake_is_opened(net: Net, form: str) -> None:
    sealer = seals(Side.SERVER, payload=True).sealer
    opening = pack_frame(2, SYN, 3) + pack_frame(2, PSH, 3, encode_string(b"early:1"))
    sealed = sealer.seal(bytes([kinds.DATA]) + opening)
    record = encode(BINARY, sealed, masked=False) if FORMS[form] else len(sealed).to_bytes(3) + sealed
    async with sealed_tunnel(net, messages=FORMS[form], received=record) as tunnel:
        await tunnel.target("early:1")


async def test_keys_change_in_the_middle_of_a_transfer(net: Net) -> None:
    async with sealed_tunnel(net, epoch=3) as tunnel:
        await exchange(await tunnel.user(), await tunnel.target())


async def test_bytes_keep_their_order_while_the_connection_is_blocked(records: SealedTunnel) -> None:
    user, target = await records.user(), await records.target()
    link = records.links[0]
    link.conn.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    crowd = [await records.user(f"crowd:{number}") for number in range(8)]  # the windows of fewer may fit into the line
    for number in range(8):
        await records.target(f"crowd:{number}")
    records.down.open.clear()
    sending = asyncio.ensure_future(user.send(BULK * 5))
    crowding = [asyncio.ensure_future(one.send(BULK)) for one in crowd]
    await until(lambda: link.state().unsent)
    late = await records.user("late:1", b"first bytes")
    await target.send(b"the other direction")
    assert await user.receive(19) == b"the other direction"
    records.down.open.set()
    other, arrived = await records.target("late:1"), await target.receive(len(BULK) * 5)
    assert arrived == BULK * 5
    await late.send(b", and later ones")
    assert await other.receive(27) == b"first bytes, and later ones"
    await sending
    for task in crowding:
        task.cancel()


@pytest.mark.parametrize("size", [FRAMES_AT, FRAMES_AT - 8, FRAMES_AT - 16, MAX_BODY, MAX_BODY + 8, 2 * MAX_BODY + 8])
async def test_any_number_of_control_frames_goes_before_payload(records: SealedTunnel, size: int) -> None:
    users = [await records.user() for _ in range(2)]
    targets = [await records.target() for _ in range(2)]
    session = records.links[0].session
    count, rest = divmod(size // 2, HEADER_SIZE + len(PUSHED))
    for stream in session.streams.values():
        for _ in range(count):
            stream.push(PUSHED)
    for _ in range(2 * rest // HEADER_SIZE):
        session.nop()
    await users[0].send(BULK)
    assert await targets[0].receive(count * len(PUSHED) + len(BULK)) == PUSHED * count + BULK


@pytest.mark.parametrize(
    ("kind", "complaint"),
    [(kinds.END, "a record of kind 3 in a session"), (kinds.DATA, "peer does not speak smux: its frame begins with")],
)
async def test_a_record_without_frames_ends_the_session(
    net: Net, kind: int, complaint: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with sealed_tunnel(net) as tunnel:
        await tunnel.down.inject(seals(Side.SERVER, payload=True).sealer.frame(kind, b"GET / HTTP/1.1"))
        await tunnel.over()
        assert f"closed a session: {complaint}" in caplog.text


def binary(payload: bytes) -> bytes:
    """Return a message of a server."""
    return encode(BINARY, payload, masked=False)


@pytest.mark.parametrize(
    "message",
    [
        encode(TEXT, bytes(100), masked=False),
        binary(bytes(TAG_SIZE)),
        binary(b""),
        binary(bytes(MAX_BODY + KIND_SIZE + TAG_SIZE + 1)),
        b"\x02\x7f" + (MAX_BODY).to_bytes(8) + bytes(MAX_BODY) + b"\x00\x12" + bytes(18),
        b"\xf2\x00",
    ],
    ids=["text", "short", "empty", "long", "long in fragments", "no WebSocket"],
)
async def test_messages_that_hold_no_record_end_the_session(
    net: Net, message: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with sealed_tunnel(net, messages=True) as tunnel:
        await tunnel.down.inject(message)
        await tunnel.over()
        assert caplog.text.count("closed a session: ") == 1


@pytest.mark.parametrize(
    "message",
    [encode(TEXT, bytes(100), masked=False), binary(b"GET / HTTP/1.1"), b"\xf2\x00"],
    ids=["text", "no frame", "no WebSocket"],
)
async def test_messages_that_hold_no_frame_end_a_session_in_clear(
    net: Net, message: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with sealed_tunnel(net, payload=False, messages=True) as tunnel:
        await tunnel.down.inject(binary(b"") + message)
        await tunnel.over()
        assert caplog.text.count("closed a session: ") == 1


def fragments(number: int, message: bytes) -> list[bytes]:
    """Cut a client's message as a proxy does, mask the parts again, and ping in between."""
    head = {126: 8, 127: 14}.get(message[1] & 0x7F, 6)
    payload, key = message[head:], bytes([1, 2, 3, number % 256])
    middle = len(payload) // 3
    first, last = masked(0x02, payload[:middle], key), masked(0x80, payload[middle:], key)
    return [first, frame(PING, b"ping", masked=True), last]


def masked(first: int, payload: bytes, key: bytes) -> bytes:
    text = bytes(byte ^ key[at % 4] for at, byte in enumerate(payload))
    return bytes([first, 0x80 | 127]) + len(payload).to_bytes(8) + key + text


each_payload = pytest.mark.parametrize("payload", [True, False], ids=["sealed", "clear"])


@each_payload
async def test_messages_pass_a_proxy_that_cuts_and_masks_them_again(net: Net, *, payload: bool) -> None:
    async with sealed_tunnel(net, payload=payload, messages=True) as tunnel:
        tunnel.up.change = fragments
        user, target = await tunnel.user(), await tunnel.target()
        await exchange(user, target, BULK[:500_000])
        assert frame(PONG, b"ping") in tunnel.down.seen


@each_payload
async def test_a_proxy_that_closes_gets_its_answer(net: Net, *, payload: bool) -> None:
    async with sealed_tunnel(net, payload=payload, messages=True) as tunnel:
        user = await tunnel.user()
        await tunnel.target()
        await tunnel.down.inject(frame(CLOSE, b"\x03\xe9going away"))
        await until_reset(user)
        await tunnel.over()
        assert tunnel.up.seen.endswith(encode(CLOSE, b"\x03\xe9", masked=True))


@each_payload
async def test_a_proxy_that_pings_and_does_not_read_gets_few_answers(net: Net, *, payload: bool) -> None:
    async with sealed_tunnel(net, payload=payload, messages=True) as tunnel:
        user, target = await tunnel.user(), await tunnel.target()
        client = tunnel.links[1]
        tunnel.up.open.clear()
        await tunnel.down.inject(frame(PING, bytes(125)) * 100_000)
        await user.send(b"after them")
        assert await target.receive(10) == b"after them"
        assert 0 < client.state().unsent < 1_000_000

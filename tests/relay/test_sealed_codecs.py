"""Sealed records in WebSocket messages and in a byte stream, as a channel gets them."""

from dataclasses import dataclass, field

import pytest
from tests.support.web import BINARY, CLOSE, PING, TEXT, frame

from backhaul.errors import TransportError
from backhaul.relay.channel import FRAMES_AT, OUT
from backhaul.relay.codec import NOBODY, Codec
from backhaul.relay.sealed_codecs import RecordCodec, SealedMessageCodec
from backhaul.security import kinds
from backhaul.security.records import MAX_BODY, TAG_SIZE, Cipher, Seals
from backhaul.security.session import SessionKeys, Side
from backhaul.wire.websocket import FrameParser, MessageReader

EVENTS = [b"payload", "end", "7", "reset after end"]
KINDS = ["records", "messages"]


@dataclass
class Listening:
    """The events of a codec."""

    heard: list[bytes | str] = field(default_factory=list)

    def on_payload(self, piece: memoryview) -> None:
        self.heard.append(bytes(piece))

    def on_end(self, taken: int) -> None:
        self.heard += ["end", str(taken)]

    def on_reset(self) -> None:
        self.heard.append("reset")

    def on_reset_after_end(self) -> None:
        self.heard.append("reset after end")

    def on_ping(self, answer: bytes) -> None:
        self.heard += ["ping", answer]

    def on_close(self, answer: bytes) -> None:
        self.heard += ["close", answer]

    def on_free(self) -> None:
        self.heard.append("free")


def seals(side: Side) -> Seals:
    return SessionKeys(bytes(32), side, Cipher.CHACHA20_POLY1305, payload=True).tunnel(0)


def codecs(kind: str) -> tuple[Codec, Codec, Listening]:
    """Return the codecs of client and server, and the events of the server."""
    one, other, heard = seals(Side.CLIENT), seals(Side.SERVER), Listening()
    client: Codec
    server: Codec
    if kind == "records":
        client, server = RecordCodec(one.sealer, one.opener), RecordCodec(other.sealer, other.opener)
    else:
        client, server = messages(one, masked=True), messages(other, masked=False)
    server.events = heard
    return client, server, heard


def messages(of: Seals, *, masked: bool) -> SealedMessageCodec:
    parser = FrameParser(MessageReader(0, print, print), expect_masked=not masked)
    return SealedMessageCodec(of.sealer, of.opener, parser, masked=masked)


def message(codec: Codec, data: bytes) -> bytes:
    at = FRAMES_AT + codec.header_room
    OUT[at : at + len(data)] = data
    return bytes(codec.message(len(data)))


def feed(codec: Codec, data: bytes, *, size: int = 1 << 20) -> None:
    for start in range(0, len(data), size):
        codec.feed(memoryview(bytearray(data[start : start + size])))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [1, 7, 1 << 20])
def test_messages_arrive_however_they_are_cut(kind: str, size: int) -> None:
    client, server, listening = codecs(kind)
    first = message(client, b"payload") + client.ping()
    feed(server, first + client.end(7) + client.reset_after_end() + client.reset(), size=size)
    heard = [event for event in listening.heard if event in [*EVENTS, "reset"]]
    assert heard == [*EVENTS, "reset"]
    feed(server, message(client, bytes(client.frame_size)) + client.end(1 << 40))
    assert listening.heard[-3:] == [bytes(client.frame_size), "end", str(1 << 40)]


@pytest.mark.parametrize("kind", KINDS)
def test_a_whole_message_fits_into_the_memory_for_it(kind: str) -> None:
    client, _, _ = codecs(kind)
    assert len(message(client, bytes(client.frame_size))) == 1 << 17


@pytest.mark.parametrize("kind", KINDS)
def test_a_released_codec_reports_nothing(kind: str) -> None:
    client, server, listening = codecs(kind)
    server.release()
    feed(server, message(client, b"payload"))
    assert not listening.heard
    assert server.events is NOBODY


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("of", [kinds.TCP, kinds.UDP, 255])
def test_a_record_of_another_kind_is_refused(kind: str, of: int) -> None:
    _, server, _ = codecs(kind)
    sealer = seals(Side.CLIENT).sealer
    record = frame(BINARY, sealer.seal(bytes([of])), masked=True) if kind == "messages" else sealer.frame(of)
    with pytest.raises(TransportError, match="kind"):
        feed(server, record)


def test_a_message_that_a_proxy_has_cut_and_masked_again_is_opened() -> None:
    _, server, listening = codecs("messages")
    sealed = seals(Side.CLIENT).sealer.seal(bytes([kinds.DATA]) + b"payload")
    first, rest = bytearray(frame(BINARY, sealed[:5], masked=True)), bytearray(frame(0, sealed[5:], masked=True))
    first[0] &= 0x7F  # more fragments follow
    feed(server, bytes(first) + frame(PING, b"?", masked=True) + bytes(rest))
    assert listening.heard == ["ping", frame(0xA, b"?"), b"payload"]
    feed(server, frame(CLOSE, b"\x03\xe8bye", masked=True))
    assert listening.heard[3:] == ["close", frame(CLOSE, b"\x03\xe8")]


@pytest.mark.parametrize(
    "sent",
    [
        frame(TEXT, b"x" * 40, masked=True),
        frame(BINARY, b"", masked=True),
        frame(BINARY, seals(Side.CLIENT).sealer.seal(b""), masked=True),
        frame(BINARY, b"x" * TAG_SIZE, masked=True),
        bytes([0x82, 0xFF]) + (1 << 40).to_bytes(8) + bytes(4) + bytes(MAX_BODY + TAG_SIZE + 2),
    ],
    ids=["text", "empty", "without a kind", "not authentic", "endless"],
)
def test_messages_that_are_no_records_are_refused(sent: bytes) -> None:
    _, server, listening = codecs("messages")
    with pytest.raises(TransportError):
        feed(server, sent, size=1 << 14)
    assert not listening.heard

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backhaul.wire.control import ClientControlDecoder, ServerControlDecoder, UnknownSignalError, hello, hello_answer
from backhaul.wire.signals import TICKET_SIZE, Signal

HELLO = hello("tcp")
TICKET = bytes(range(TICKET_SIZE))  # holds every signal byte, none of which is a signal within a ticket


def signals_of(decoder: ClientControlDecoder | ServerControlDecoder, chunks: list[bytes]) -> list[Signal]:
    return [signal for chunk in chunks for signal in decoder.feed(chunk)]


def singly(data: bytes) -> list[bytes]:
    return [bytes([byte]) for byte in data]


def test_the_hello_has_the_documented_bytes() -> None:
    assert [hello(name) for name in ("tcp", "tcpmux", "udp")] == [b"\x48\x80", b"\x48\x81", b"\x48\x82"]
    assert hello_answer("tcp", TICKET) == HELLO + TICKET


@pytest.mark.parametrize("transport", ["tcp", "tcpmux", "udp"])
def test_a_hello_names_the_transport(transport: str) -> None:
    server, client = ServerControlDecoder(), ClientControlDecoder()
    assert (server.transport, client.transport) == ("", "")
    server.feed(hello(transport))
    client.feed(hello_answer(transport, TICKET))
    assert (server.transport, client.transport) == (transport, transport)
    server.feed(bytes([Signal.HELLO, 0xFF]))
    client.feed(bytes([Signal.HELLO, 0xFF]) + TICKET)
    assert (server.transport, client.transport) == ("", "")


class TestServerControlDecoder:
    @pytest.mark.parametrize("cut", [lambda data: [data], singly])
    def test_a_client_with_extensions(self, cut: object) -> None:
        assert callable(cut)
        signals = signals_of(ServerControlDecoder(), cut(bytes([Signal.RTT]) + HELLO + bytes([Signal.CLOSED])))
        assert signals == [Signal.RTT, Signal.HELLO, Signal.CLOSED]

    def test_half_a_hello_is_no_signal(self) -> None:
        decoder = ServerControlDecoder()
        assert decoder.feed(HELLO[:1]) == []
        assert decoder.feed(HELLO[1:]) == [Signal.HELLO]

    def test_the_transport_of_a_later_version_is_accepted(self) -> None:
        assert ServerControlDecoder().feed(bytes([Signal.HELLO, 0xFF])) == [Signal.HELLO]

    def test_the_byte_of_a_transport_is_never_a_signal(self) -> None:
        assert ServerControlDecoder().feed(bytes([Signal.HELLO, Signal.CLOSED])) == [Signal.HELLO]

    def test_a_byte_without_a_meaning_is_ignored(self) -> None:
        assert ServerControlDecoder().feed(b"\xee" + bytes([Signal.CLOSED])) == [Signal.CLOSED]

    @given(st.binary())
    def test_unknown_bytes_are_ignored_as_in_v072(self, data: bytes) -> None:
        known = {Signal.HEARTBEAT, Signal.CLOSED, Signal.RTT, Signal.HELLO}
        strange = bytes(byte for byte in data if byte not in known)
        assert ServerControlDecoder().feed(strange + bytes([Signal.CLOSED])) == [Signal.CLOSED]

    @given(st.binary(), st.data())
    def test_cuts_make_no_difference(self, data: bytes, draw: st.DataObject) -> None:
        cut = draw.draw(st.integers(0, len(data)))
        assert (
            signals_of(ServerControlDecoder(), [data[:cut], data[cut:]])
            == ServerControlDecoder().feed(data)
            == signals_of(ServerControlDecoder(), singly(data))
        )


class TestClientControlDecoder:
    def test_a_v072_server(self) -> None:
        decoder = ClientControlDecoder()
        assert decoder.feed(b"\x06\x00\x01\x03") == [Signal.RTT, Signal.HEARTBEAT, Signal.CHANNEL, Signal.CLOSED]
        assert decoder.ticket == b""

    def test_a_server_with_extensions_gives_a_ticket(self) -> None:
        decoder = ClientControlDecoder()
        signals = decoder.feed(bytes([Signal.RTT]) + hello_answer("tcp", TICKET) + bytes([Signal.CHANNEL]))
        assert signals == [Signal.RTT, Signal.HELLO, Signal.CHANNEL]
        assert decoder.ticket == TICKET

    def test_a_ticket_byte_by_byte_counts_once_it_is_complete(self) -> None:
        decoder = ClientControlDecoder()
        assert signals_of(decoder, singly(hello_answer("tcp", TICKET)[:-1])) == []
        assert decoder.ticket == b""
        assert decoder.feed(TICKET[-1:]) == [Signal.HELLO]
        assert decoder.ticket == TICKET

    def test_a_new_hello_brings_a_new_ticket(self) -> None:
        decoder = ClientControlDecoder()
        assert decoder.feed(hello_answer("tcp", TICKET) + hello_answer("tcp", TICKET[::-1])) == [
            Signal.HELLO,
            Signal.HELLO,
        ]
        assert decoder.ticket == TICKET[::-1]

    def test_the_first_byte_that_no_server_sends_is_an_error(self) -> None:
        with pytest.raises(UnknownSignalError, match="0xee"):
            ClientControlDecoder().feed(b"\x00\xee\x01")

    @given(st.integers(0, 255).filter(lambda byte: byte not in {0, 1, 3, 6, Signal.HELLO}))
    def test_a_byte_that_no_server_sends(self, byte: int) -> None:
        with pytest.raises(UnknownSignalError, match=f"0x{byte:02x}"):
            ClientControlDecoder().feed(bytes([byte]))

    @given(st.lists(st.sampled_from([b"\x00", b"\x01", b"\x03", b"\x06", hello_answer("tcp", TICKET)])), st.data())
    def test_cuts_make_no_difference(self, messages: list[bytes], draw: st.DataObject) -> None:
        data = b"".join(messages)
        cut = draw.draw(st.integers(0, len(data)))
        signals = ClientControlDecoder().feed(data)
        assert len(signals) == len(messages)
        assert (
            signals_of(ClientControlDecoder(), [data[:cut], data[cut:]])
            == signals
            == signals_of(ClientControlDecoder(), singly(data))
        )

    @given(st.binary())
    def test_random_bytes_raise_nothing_but_the_announced_error(self, data: bytes) -> None:
        try:
            signals = ClientControlDecoder().feed(data)
        except UnknownSignalError:
            return
        assert len(signals) <= len(data)

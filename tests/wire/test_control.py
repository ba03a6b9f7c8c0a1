import pytest
from hypothesis import given
from hypothesis import strategies as st

from backhaul.wire.control import ClientControlDecoder, ServerControlDecoder, UnknownSignalError, hello, hello_answer
from backhaul.wire.signals import TICKET_SIZE, Signal

HELLO = hello("tcp")
TICKET = bytes(range(TICKET_SIZE))  # holds every signal byte: inside a ticket none of them means anything


def hear(decoder: ClientControlDecoder | ServerControlDecoder, chunks: list[bytes]) -> list[Signal]:
    return [signal for chunk in chunks for signal in decoder.feed(chunk)]


def singly(data: bytes) -> list[bytes]:
    return [bytes([byte]) for byte in data]


def test_the_hello_is_what_the_documentation_says() -> None:
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


class TestServerEar:
    @pytest.mark.parametrize("cut", [lambda data: [data], singly])
    def test_our_client(self, cut: object) -> None:
        assert callable(cut)
        heard = hear(ServerControlDecoder(), cut(bytes([Signal.RTT]) + HELLO + bytes([Signal.CLOSED])))
        assert heard == [Signal.RTT, Signal.HELLO, Signal.CLOSED]

    def test_half_a_hello_is_none(self) -> None:
        decoder = ServerControlDecoder()
        assert decoder.feed(HELLO[:1]) == []
        assert decoder.feed(HELLO[1:]) == [Signal.HELLO]

    def test_a_byte_of_capabilities_that_came_later_than_this_version_is_fine(self) -> None:
        assert ServerControlDecoder().feed(bytes([Signal.HELLO, 0xFF])) == [Signal.HELLO]

    def test_capabilities_are_never_taken_for_a_signal(self) -> None:
        assert ServerControlDecoder().feed(bytes([Signal.HELLO, Signal.CLOSED])) == [Signal.HELLO]

    def test_a_byte_that_means_nothing_is_ignored(self) -> None:
        assert ServerControlDecoder().feed(b"\xee" + bytes([Signal.CLOSED])) == [Signal.CLOSED]

    @given(st.binary())
    def test_unknown_bytes_are_ignored_as_v072_ignores_them(self, data: bytes) -> None:
        known = {Signal.HEARTBEAT, Signal.CLOSED, Signal.RTT, Signal.HELLO}
        strange = bytes(byte for byte in data if byte not in known)
        assert ServerControlDecoder().feed(strange + bytes([Signal.CLOSED])) == [Signal.CLOSED]

    @given(st.binary(), st.data())
    def test_how_the_bytes_are_cut_makes_no_difference(self, data: bytes, draw: st.DataObject) -> None:
        cut = draw.draw(st.integers(0, len(data)))
        assert (
            hear(ServerControlDecoder(), [data[:cut], data[cut:]])
            == ServerControlDecoder().feed(data)
            == hear(ServerControlDecoder(), singly(data))
        )


class TestClientEar:
    def test_a_v072_server(self) -> None:
        decoder = ClientControlDecoder()
        assert decoder.feed(b"\x06\x00\x01\x03") == [Signal.RTT, Signal.HEARTBEAT, Signal.CHANNEL, Signal.CLOSED]
        assert decoder.ticket == b""

    def test_our_server_gives_a_ticket(self) -> None:
        decoder = ClientControlDecoder()
        heard = decoder.feed(bytes([Signal.RTT]) + hello_answer("tcp", TICKET) + bytes([Signal.CHANNEL]))
        assert heard == [Signal.RTT, Signal.HELLO, Signal.CHANNEL]
        assert decoder.ticket == TICKET

    def test_a_ticket_byte_by_byte_counts_once_it_is_whole(self) -> None:
        decoder = ClientControlDecoder()
        assert hear(decoder, singly(hello_answer("tcp", TICKET)[:-1])) == []
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

    def test_the_first_byte_that_no_server_sends_ends_it(self) -> None:
        with pytest.raises(UnknownSignalError, match="0xee"):
            ClientControlDecoder().feed(b"\x00\xee\x01")

    @given(st.integers(0, 255).filter(lambda byte: byte not in {0, 1, 3, 6, Signal.HELLO}))
    def test_a_byte_that_no_server_sends(self, byte: int) -> None:
        with pytest.raises(UnknownSignalError, match=f"0x{byte:02x}"):
            ClientControlDecoder().feed(bytes([byte]))

    @given(st.lists(st.sampled_from([b"\x00", b"\x01", b"\x03", b"\x06", hello_answer("tcp", TICKET)])), st.data())
    def test_how_the_bytes_are_cut_makes_no_difference(self, words: list[bytes], draw: st.DataObject) -> None:
        data = b"".join(words)
        cut = draw.draw(st.integers(0, len(data)))
        heard = ClientControlDecoder().feed(data)
        assert len(heard) == len(words)
        assert (
            hear(ClientControlDecoder(), [data[:cut], data[cut:]])
            == heard
            == hear(ClientControlDecoder(), singly(data))
        )

    @given(st.binary())
    def test_random_bytes_raise_nothing_but_the_announced_error(self, data: bytes) -> None:
        try:
            heard = ClientControlDecoder().feed(data)
        except UnknownSignalError:
            return
        assert len(heard) <= len(data)

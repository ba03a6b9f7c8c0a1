import pytest
from hypothesis import given
from hypothesis import strategies as st

from backhaul.wire.control import ClientControlDecoder, ServerControlDecoder, UnknownSignalError
from backhaul.wire.signals import Signal

TO_SERVER = {Signal.HEARTBEAT, Signal.CLOSED, Signal.RTT}
TO_CLIENT = {Signal.HEARTBEAT, Signal.CHANNEL, Signal.CLOSED, Signal.RTT}


def singly(decoder: ClientControlDecoder | ServerControlDecoder, data: bytes) -> list[Signal]:
    return [signal for byte in data for signal in decoder.feed(bytes([byte]))]


class TestServerControlDecoder:
    def test_a_v072_client(self) -> None:
        assert ServerControlDecoder().feed(b"\x06\x00\x03") == [Signal.RTT, Signal.HEARTBEAT, Signal.CLOSED]

    @given(st.binary())
    def test_other_bytes_are_ignored_as_in_v072(self, data: bytes) -> None:
        signals = ServerControlDecoder().feed(data)
        assert signals == [Signal(byte) for byte in data if byte in TO_SERVER]
        assert singly(ServerControlDecoder(), data) == signals


class TestClientControlDecoder:
    def test_a_v072_server(self) -> None:
        signals = ClientControlDecoder().feed(b"\x06\x00\x01\x03")
        assert signals == [Signal.RTT, Signal.HEARTBEAT, Signal.CHANNEL, Signal.CLOSED]

    def test_the_first_byte_that_no_server_sends_is_named(self) -> None:
        with pytest.raises(UnknownSignalError, match="0xee"):
            ClientControlDecoder().feed(b"\x00\xee\x01\xef")

    def test_any_byte_that_no_server_sends(self) -> None:
        for byte in set(range(256)) - set(TO_CLIENT):
            with pytest.raises(UnknownSignalError, match=f"0x{byte:02x}"):
                ClientControlDecoder().feed(bytes([byte]))

    @given(st.lists(st.sampled_from(sorted(TO_CLIENT))))
    def test_cuts_make_no_difference(self, signals: list[Signal]) -> None:
        assert ClientControlDecoder().feed(bytes(signals)) == signals == singly(ClientControlDecoder(), bytes(signals))

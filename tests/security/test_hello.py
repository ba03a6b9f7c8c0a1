"""The payloads of the handshake."""

import msgspec
import pytest

from backhaul.security.hello import PROLOGUES, ClientHello, ServerHello, decode, encode
from backhaul.security.noise import HandshakeError
from backhaul.security.records import Cipher


def test_hellos_arrive_as_they_were() -> None:
    client = ClientHello("tcpmux", features=(1, 2), certificate=b"x" * 32, padding=bytes(9))
    server = ServerHello(cipher=Cipher.AES_128_GCM, session=7, locator=b"y" * 32, warning="clock")
    assert decode(ClientHello, encode(client)) == client
    assert decode(ServerHello, encode(server)) == server


def test_fields_of_later_versions_are_ignored() -> None:
    payload = msgspec.msgpack.encode({"transport": "tcp", "later": [1]})
    assert decode(ClientHello, payload) == ClientHello("tcp")


@pytest.mark.parametrize(
    "payload",
    [b"", b"\xc1", b"\x80", msgspec.msgpack.encode({"transport": 1}), b"\x81\xa9transport\xa1\xff", b"\x91" * 9999],
)
def test_other_payloads_are_refused(payload: bytes) -> None:
    with pytest.raises(HandshakeError):
        decode(ClientHello, payload)


def test_the_envelopes_differ() -> None:
    assert PROLOGUES[True] != PROLOGUES[False]

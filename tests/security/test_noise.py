"""The handshake, beside an independent implementation (noiseprotocol) in both roles."""

import hashlib
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from noise.connection import Keypair, NoiseConnection

from backhaul.security.noise import (
    KEY_SIZE,
    MAX_MESSAGE,
    OVERHEAD,
    PROTOCOL,
    HandshakeError,
    Initiator,
    Keys,
    Responder,
    Shared,
)

pytestmark = pytest.mark.filterwarnings("ignore:One of ephemeral keypairs is already set")  # as tests do
PSK = bytes(range(32))
PROLOGUE = b"backhaul tcp"
FIRST, SECOND = bytes([1] * 32), bytes([2] * 32)
OURS = Shared.mix(PSK, PROLOGUE)
KEYS = st.binary(min_size=KEY_SIZE, max_size=KEY_SIZE)
SMALL_ORDER = bytes(32), bytes([1] + [0] * 31)  # RFC 7748, section 6.1: the shared secret would be zero


class Run(NamedTuple):
    """The inputs of a handshake."""

    psk: bytes
    prologue: bytes
    first: bytes  # the client's private key
    second: bytes
    request: bytes
    response: bytes


RUNS = st.builds(Run, KEYS, st.binary(max_size=80), KEYS, KEYS, st.binary(max_size=300), st.binary(max_size=300))


def other(run: Run, private: bytes) -> NoiseConnection:
    """Return the other implementation, its role still open."""
    connection = NoiseConnection.from_name(PROTOCOL)
    connection.set_psks(run.psk)
    connection.set_prologue(run.prologue)
    connection.set_keypair_from_private_bytes(Keypair.EPHEMERAL, private)
    return connection


def exchange(shared: Shared = OURS, request: bytes = b"", response: bytes = b"") -> tuple[bytes, bytes, Keys, Keys]:
    """Run a handshake; return both messages, and the keys of both ends."""
    client = Initiator(shared, FIRST)
    first = client.begin(request)
    server = Responder(shared, first)
    assert server.payload == request
    second, servers = server.answer(response, SECOND)
    payload, clients = client.finish(second)
    assert payload == response
    return first, second, clients, servers


def values(keys: Keys) -> tuple[bytes, ...]:
    return keys.to_server, keys.to_client, keys.master, keys.binding


@given(RUNS)
def test_the_messages_and_keys_are_those_of_another_implementation_as_client(run: Run) -> None:
    client, server = Initiator(Shared.mix(run.psk, run.prologue), run.first), other(run, run.second)
    server.set_as_responder()
    server.start_handshake()
    assert server.read_message(client.begin(run.request)) == run.request
    payload, keys = client.finish(bytes(server.write_message(run.response)))
    assert payload == run.response
    assert keys.to_server == server.noise_protocol.cipher_state_decrypt.k
    assert keys.to_client == server.noise_protocol.cipher_state_encrypt.k
    assert keys.binding == server.get_handshake_hash()


@given(RUNS)
def test_the_messages_and_keys_are_those_of_another_implementation_as_server(run: Run) -> None:
    client = other(run, run.first)
    client.set_as_initiator()
    client.start_handshake()
    server = Responder(Shared.mix(run.psk, run.prologue), bytes(client.write_message(run.request)))
    assert server.payload == run.request
    message, keys = server.answer(run.response, run.second)
    assert client.read_message(message) == run.response
    assert keys.to_server == client.noise_protocol.cipher_state_encrypt.k
    assert keys.to_client == client.noise_protocol.cipher_state_decrypt.k
    assert keys.binding == client.get_handshake_hash()


def test_both_ends_agree_on_keys_that_differ_from_each_other() -> None:
    first, second, clients, servers = exchange(request=b"request", response=b"response")
    assert values(clients) == values(servers)
    assert len(set(values(clients))) == 4
    assert (len(first), len(second)) == (OVERHEAD + 7, OVERHEAD + 8)


def test_other_ephemeral_keys_lead_to_other_keys() -> None:
    _, _, before, _ = exchange()
    client = Initiator(OURS, SECOND)
    _, keys = Responder(OURS, client.begin(b"")).answer(b"", FIRST)
    assert not set(values(keys)) & set(values(before))


def test_a_message_shows_nothing_of_its_payload() -> None:
    payload = b"a payload that nobody else reads"
    first, second, _, _ = exchange(request=payload, response=payload)
    assert payload not in first + second
    assert first[KEY_SIZE:] != second[KEY_SIZE:]


@pytest.mark.parametrize("shared", [Shared.mix(bytes(32), PROLOGUE), Shared.mix(PSK, b"backhaul ws")])
def test_an_end_with_another_key_or_prologue_gets_nothing(shared: Shared) -> None:
    with pytest.raises(HandshakeError, match="not authentic"):
        Responder(shared, Initiator(OURS, FIRST).begin(b"request"))


@given(st.integers(0, OVERHEAD + 6), st.integers(0, 7))
def test_every_bit_of_the_first_message_counts(position: int, bit: int) -> None:
    message = bytearray(Initiator(OURS, FIRST).begin(b"request"))
    message[position] ^= 1 << bit
    with pytest.raises(HandshakeError, match="not authentic"):
        Responder(OURS, bytes(message))


@given(st.integers(0, OVERHEAD + 7), st.integers(0, 7))
def test_every_bit_of_the_second_message_counts(position: int, bit: int) -> None:
    client = Initiator(OURS, FIRST)
    message, _ = Responder(OURS, client.begin(b"request")).answer(b"response", SECOND)
    changed = bytearray(message)
    changed[position] ^= 1 << bit
    with pytest.raises(HandshakeError):
        client.finish(bytes(changed))


def test_the_answer_to_another_handshake_is_refused() -> None:
    _, answer, _, _ = exchange()
    client = Initiator(OURS, hashlib.sha256(b"another").digest())
    client.begin(b"")
    with pytest.raises(HandshakeError, match="not authentic"):
        client.finish(answer)


def test_the_own_message_is_no_answer() -> None:
    client = Initiator(OURS, FIRST)
    message = client.begin(b"")
    with pytest.raises(HandshakeError, match="not authentic"):
        client.finish(message)


@pytest.mark.parametrize("size", [0, 1, KEY_SIZE, OVERHEAD - 1, MAX_MESSAGE + 1])
def test_a_message_of_an_impossible_size(size: int) -> None:
    with pytest.raises(HandshakeError, match=f"has {size} bytes"):
        Responder(OURS, bytes(size))


@pytest.mark.parametrize("public", SMALL_ORDER)
def test_a_public_key_of_small_order_is_refused(public: bytes) -> None:
    class Small(Initiator):
        """A client that knows the pre-shared key and sends a bad public key."""

        def begin(self, payload: bytes) -> bytes:
            state = self._state
            return state.read_key(public + bytes(16)) + state.seal(payload)

    server = Responder(OURS, Small(OURS, FIRST).begin(b""))
    with pytest.raises(HandshakeError, match="small order"):
        server.answer(b"", SECOND)


def test_the_largest_payload() -> None:
    payload = bytes(MAX_MESSAGE - OVERHEAD)
    first, _, _, _ = exchange(request=payload, response=payload)
    assert len(first) == MAX_MESSAGE
    with pytest.raises(ValueError, match="does not fit"):
        Initiator(OURS, FIRST).begin(payload + b"!")


def test_a_pre_shared_key_of_another_size() -> None:
    with pytest.raises(ValueError, match="has 32 bytes, not 31"):
        Shared.mix(bytes(31), b"")


def test_keys_are_not_printed() -> None:
    _, _, keys, _ = exchange()
    assert (repr(keys), repr(OURS), str(OURS)) == ("Keys(...)", "Shared(...)", "Shared(...)")

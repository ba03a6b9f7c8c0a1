"""The handshake Noise_NNpsk0_25519_ChaChaPoly_SHA256 (Noise Protocol Framework, revision 34).

Two messages prove to each end that the other one has the pre-shared key, and agree on keys that a later leak of it
does not reveal. The pattern is::

    NNpsk0:
      -> psk, e
      <- e, ee

Each key of the pattern encrypts one message, so every nonce is 0. A handshake object is used once, with a
fresh private key.
"""

import hashlib
import hmac
from typing import Final, NamedTuple, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from backhaul.errors import TransportError

PROTOCOL: Final = b"Noise_NNpsk0_25519_ChaChaPoly_SHA256"
KEY_SIZE: Final = 32
"""Bytes of a pre-shared key, of a private and of a public key."""
TAG_SIZE: Final = 16
OVERHEAD: Final = KEY_SIZE + TAG_SIZE
"""Bytes that a message has beyond its payload."""
MAX_MESSAGE: Final = 65_535
"""Bytes of a message (section 3)."""

_NONCE: Final = bytes(12)


class HandshakeError(TransportError):
    """The bytes are not an authentic message of the handshake."""


class Keys:
    """The result of a handshake, which is the same on both ends."""

    __slots__ = ("binding", "master", "to_client", "to_server")

    def __init__(self, *, to_server: bytes, to_client: bytes, master: bytes, binding: bytes) -> None:
        self.to_server = to_server
        """The key of what the client, which began the handshake, sends."""
        self.to_client = to_client
        self.master = master
        """Key material from which further keys are derived; independent of both others."""
        self.binding = binding
        """The hash of the whole handshake, which no other handshake has (section 11.2)."""

    def __repr__(self) -> str:
        return "Keys(...)"


class Shared(NamedTuple):
    """The state of a handshake after the pre-shared key, for one key and prologue: made once, used for each message."""

    chain: bytes
    hash: bytes
    key: bytes

    def __repr__(self) -> str:
        return "Shared(...)"

    @classmethod
    def mix(cls, psk: bytes, prologue: bytes) -> Self:
        """Return the state; ``psk`` has ``KEY_SIZE`` bytes, and ``prologue`` is what both ends know already."""
        if len(psk) != KEY_SIZE:
            raise ValueError(f"a pre-shared key has {KEY_SIZE} bytes, not {len(psk)}")
        chain = hashlib.sha256(PROTOCOL).digest()
        digest = _mix_hash(chain, prologue)
        chain, mixed, key = _derive(chain, psk)
        return cls(chain, _mix_hash(digest, mixed), key)


class Initiator:
    """The client's half of one handshake."""

    __slots__ = ("_private", "_state")

    def __init__(self, shared: Shared, private: bytes) -> None:
        """``private`` is a fresh X25519 key: ``KEY_SIZE`` random bytes."""
        self._private = X25519PrivateKey.from_private_bytes(private)
        self._state = _State(shared)

    def begin(self, payload: bytes) -> bytes:
        """Return the first message."""
        return self._state.write_key(self._private) + self._state.seal(payload)

    def finish(self, message: bytes) -> tuple[bytes, Keys]:
        """Return the payload of the second message, and the keys. Raises HandshakeError."""
        public = self._state.read_key(message)
        self._state.mix_secret(self._private, public)
        return self._state.open(message[KEY_SIZE:]), self._state.split()


class Responder:
    """The server's half of one handshake, after the first message."""

    __slots__ = ("_public", "_state", "payload")

    def __init__(self, shared: Shared, message: bytes) -> None:
        """Read the first message; raises HandshakeError unless its sender knows the pre-shared key.

        No curve operation is made for a message that is not authentic.
        """
        self._state = _State(shared)
        self._public = self._state.read_key(message)
        self.payload = self._state.open(message[KEY_SIZE:])

    def answer(self, payload: bytes, private: bytes) -> tuple[bytes, Keys]:
        """Return the second message, and the keys; ``private`` as for ``Initiator``. Raises HandshakeError."""
        own = X25519PrivateKey.from_private_bytes(private)
        sent = self._state.write_key(own)
        self._state.mix_secret(own, self._public)
        return sent + self._state.seal(payload), self._state.split()


class _State:
    """Section 5.2's SymmetricState, from the first ephemeral key on."""

    __slots__ = ("_chain", "_hash", "_key")

    def __init__(self, shared: Shared) -> None:
        self._chain, self._hash, self._key = shared

    def write_key(self, private: X25519PrivateKey) -> bytes:
        public = private.public_key().public_bytes_raw()
        self._mix_public(public)
        return public

    def read_key(self, message: bytes) -> bytes:
        if not OVERHEAD <= len(message) <= MAX_MESSAGE:
            raise HandshakeError(f"a message of the handshake has {len(message)} bytes")
        public = message[:KEY_SIZE]
        self._mix_public(public)
        return public

    def mix_secret(self, private: X25519PrivateKey, public: bytes) -> None:
        try:
            secret = private.exchange(X25519PublicKey.from_public_bytes(public))
        except ValueError:  # a point of small order, with which the secret would be public
            raise HandshakeError("the peer's public key is of small order") from None
        self._chain, self._key = _derive(self._chain, secret)[:2]

    def seal(self, payload: bytes) -> bytes:
        sealed = ChaCha20Poly1305(self._key).encrypt(_NONCE, payload, self._hash)
        if len(sealed) + KEY_SIZE > MAX_MESSAGE:
            raise ValueError(f"a payload of {len(payload)} bytes does not fit into a message")
        self._hash = _mix_hash(self._hash, sealed)
        return sealed

    def open(self, sealed: bytes) -> bytes:
        try:
            payload = ChaCha20Poly1305(self._key).decrypt(_NONCE, sealed, self._hash)
        except InvalidTag:
            raise HandshakeError("a message of the handshake is not authentic") from None
        self._hash = _mix_hash(self._hash, sealed)
        return payload

    def split(self) -> Keys:
        to_server, to_client, master = _derive(self._chain, b"")
        return Keys(to_server=to_server, to_client=to_client, master=master, binding=self._hash)

    def _mix_public(self, public: bytes) -> None:
        """Mix an ephemeral key in; with a pre-shared key it goes into the keys as well (section 9.2)."""
        self._hash = _mix_hash(self._hash, public)
        self._chain, self._key = _derive(self._chain, public)[:2]


def _mix_hash(digest: bytes, data: bytes) -> bytes:
    return hashlib.sha256(digest + data).digest()


def _derive(chain: bytes, material: bytes) -> tuple[bytes, bytes, bytes]:
    """Return three outputs of HKDF (section 4.3); fewer outputs are the first ones of these."""
    secret = hmac.digest(chain, material, "sha256")
    first = hmac.digest(secret, b"\1", "sha256")
    second = hmac.digest(secret, first + b"\2", "sha256")
    return first, second, hmac.digest(secret, second + b"\3", "sha256")

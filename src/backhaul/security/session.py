"""The keys of a session between two ends of this program, and the admission of its tunnel connections.

A tunnel connection begins with an **admission**, ``ADMISSION_SIZE`` bytes that prove possession of the session's keys::

    nonce (12) | (u32 session | u64 number) XOR mask | proof (16)

``number`` is used once; its highest bit is ``RESUMES``. The mask is derived from the nonce with the locator, a key of
the server that all its clients know: to all others an admission is 40 random bytes, and the server finds the
session of one at once. The proof is derived from nonce and number with a key of the session.
"""

import hmac
from enum import Enum
from struct import Struct
from typing import Final, Generic, NamedTuple, TypeVar

from .derive import derive, function
from .records import ChainOpener, ChainSealer, Cipher, Seals, SharedOpener, SharedSealer, make_aead
from .replay import ReplayWindow

ADMISSION_SIZE: Final = 12 + 4 + 8 + 16
LOCATOR_SIZE: Final = 32
NONCE_SIZE: Final = 12
"""Random bytes with which an admission begins."""

MAX_CONNECTIONS: Final = 1 << 48
"""Tunnel connections that a session may have."""
RESUMES: Final = 1 << 63
"""A bit of the number in an admission: the connection resumes the session of another one."""

_PROOF_SIZE: Final = 16
_PLACE: Final = Struct("!IQ")
_NUMBER: Final = Struct("!Q")
_PROOF_AT: Final = NONCE_SIZE + _PLACE.size
_MAX_SESSIONS: Final = 1 << 32

Owner = TypeVar("Owner")


class Side(Enum):
    """The end of the tunnel that uses the keys."""

    CLIENT = b"client"
    SERVER = b"server"


class SessionKeys:
    """The keys that one end derives from its handshake, for each connection and direction."""

    __slots__ = ("_admission", "_derive", "_opens", "_other", "_seals", "_side", "cipher", "payload")

    def __init__(self, master: bytes, side: Side, cipher: Cipher, *, payload: bool) -> None:
        """``master`` is that of ``noise.Keys``; ``payload`` is true if users' bytes are sealed."""
        self._derive = function(master)
        self._side = side
        self._other = Side.SERVER if side is Side.CLIENT else Side.CLIENT
        self.cipher = cipher
        self._admission = function(derive(master, b"admission"), _PROOF_SIZE)
        self.payload = payload
        self._seals = make_aead(self._secret(side, b"targets"), cipher)
        self._opens = make_aead(self._secret(self._other, b"targets"), cipher)

    def __repr__(self) -> str:
        return "SessionKeys(...)"

    def control(self) -> Seals:
        """Return the seals of the control channel; call it once."""
        return self._own(b"control")

    def tunnel(self, number: int) -> Seals:
        """Return the seals of the tunnel connection that was admitted with ``number``; call it once for each."""
        if self.payload:
            return self._own(b"tunnel" + _NUMBER.pack(number))
        connection = number.to_bytes(6)
        return Seals(SharedSealer(self._seals, connection), SharedOpener(self._opens, connection), payload=False)

    def datagrams(self, label: bytes) -> tuple[bytes, bytes]:
        """Return secrets for datagrams that this end sends, and for those that it receives, by their purpose."""
        return self._secret(self._side, b"datagrams" + label), self._secret(self._other, b"datagrams" + label)

    def prove(self, nonce: bytes, number: int) -> bytes:
        """Return the proof of an admission."""
        proof = self._admission.copy()
        proof.update(nonce + _NUMBER.pack(number))
        return proof.digest()

    def _own(self, purpose: bytes) -> Seals:
        sealer = ChainSealer(self._secret(self._side, purpose), self.cipher)
        return Seals(sealer, ChainOpener(self._secret(self._other, purpose), self.cipher), self.payload)

    def _secret(self, sender: Side, purpose: bytes) -> bytes:
        secret = self._derive.copy()
        secret.update(b"from " + sender.value + b": " + purpose)
        return secret.digest()


class Admission(NamedTuple):
    """An admission to send, and the seals of its connection."""

    data: bytes
    seals: Seals


class Admissions:
    """The client's supply of admissions for one session."""

    def __init__(self, keys: SessionKeys, session: int, locator: bytes) -> None:
        """``session`` and ``locator`` are those of the server's hello."""
        self._keys = keys
        self._session = session
        self._locator = locator
        self._number = 0

    def next(self, nonce: bytes, *, resumes: bool = False) -> Admission:
        """Return an admission, made with twelve fresh random bytes, of a connection that resumes another one or not."""
        number, self._number = self._number, self._number + 1
        shown = number | RESUMES if resumes else number
        place, proof = _PLACE.pack(self._session, shown), self._keys.prove(nonce, shown)
        seals = self._keys.tunnel(number)._replace(identity=proof, resumes=resumes)
        return Admission(nonce + _masked(place, self._locator, nonce) + proof, seals)


def _masked(place: bytes | memoryview, locator: bytes, nonce: bytes) -> bytes:
    mask = derive(locator, nonce)[: _PLACE.size]
    return (int.from_bytes(place) ^ int.from_bytes(mask)).to_bytes(_PLACE.size)


class _Entry(NamedTuple, Generic[Owner]):
    owner: Owner
    keys: SessionKeys
    used: ReplayWindow


class Register(Generic[Owner]):
    """The sessions of a server, which admissions name, each with its owner."""

    def __init__(self, locator: bytes) -> None:
        """``locator`` has ``LOCATOR_SIZE`` random bytes."""
        self.locator = locator
        """The key that clients learn."""
        self._entries: dict[int, _Entry[Owner]] = {}
        self._next = 0

    def __repr__(self) -> str:
        return f"Register({len(self._entries)})"

    def reserve(self) -> int:
        """Return a number for another session."""
        number, self._next = self._next, (self._next + 1) % _MAX_SESSIONS
        return number

    def enter(self, session: int, keys: SessionKeys, owner: Owner) -> None:
        """Admit tunnel connections of this session from now on."""
        self._entries[session] = _Entry(owner, keys, ReplayWindow())

    def forget(self, session: int) -> None:
        """Admit no more of its tunnel connections; harmless for one that was never entered."""
        self._entries.pop(session, None)

    def check(self, data: bytes | memoryview) -> tuple[Owner, Seals] | None:
        """Return the owner of the session and the seals of the connection that begins with ``data``.

        None if its first ``ADMISSION_SIZE`` bytes are not a valid admission.
        """
        if not self._entries or len(data) < ADMISSION_SIZE:
            return None
        nonce, place = bytes(data[:NONCE_SIZE]), data[NONCE_SIZE:_PROOF_AT]
        session, shown = _PLACE.unpack(_masked(place, self.locator, nonce))
        entry, number, proof = self._entries.get(session), shown & ~RESUMES, bytes(data[_PROOF_AT:ADMISSION_SIZE])
        if not entry or number >= MAX_CONNECTIONS or not hmac.compare_digest(proof, entry.keys.prove(nonce, shown)):
            return None
        if not entry.used.use(number):
            return None
        return entry.owner, entry.keys.tunnel(number)._replace(identity=proof, resumes=shown != number)

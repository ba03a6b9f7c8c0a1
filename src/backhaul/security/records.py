"""Sealed records, which two ends of this program send each other after their handshake.

A record is sealed with an AEAD under a key of one direction of one connection. The nonce is the number of the record,
which is not sent: a record that is lost, repeated or moved can't be opened. In a byte stream a record has its length in
front, three bytes, big-endian::

    u24 length | sealed (u8 kind | body)

The key is replaced after each ``EPOCH`` records by one that the old key does not reveal. Connections on which targets
alone are sealed share a key of their session, because a key of its own costs a new connection more than all else here.

Importing this module loads ``cryptography``, which takes 10 MB: other rooms import it when the first peer needs it.
"""

import functools
import weakref
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from enum import IntEnum
from struct import Struct
from typing import Final, NamedTuple, TypeAlias

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

from backhaul.errors import TransportError

from .derive import step

TAG_SIZE: Final = 16
"""Bytes that a sealed record has beyond its kind and body."""
HEADER_SIZE: Final = 3
"""Bytes of the length in a byte stream."""
KIND_SIZE: Final = 1
OVERHEAD: Final = HEADER_SIZE + KIND_SIZE + TAG_SIZE
"""Bytes that a record in a byte stream has beyond its body."""
MAX_BODY: Final = 1 << 17
"""Bytes of a body."""
EPOCH: Final = 1 << 20
"""Records under one key: 128 GiB at most, of which AES-GCM reveals nothing (RFC 8446 section 5.5 allows 2^24.5)."""

MAX_LOADED: Final = 256
"""Directions of connections that keep their keys ready: idle ones should take little memory."""

_MAX_SEALED: Final = MAX_BODY + KIND_SIZE + TAG_SIZE
_NOTHING: Final = bytearray()
_NONCE: Final = Struct("!4xQ")
_MAX_NUMBER: Final = 1 << 64
_MAX_SHARED: Final = 1 << 48


Aead: TypeAlias = AESGCM | ChaCha20Poly1305


class RecordError(TransportError):
    """A record is not authentic, or too long; the connection must be closed."""


class Cipher(IntEnum):
    """An AEAD for records."""

    AES_128_GCM = 1
    """For two CPUs with instructions for AES: 3.7 GB/s where ChaCha20-Poly1305 makes 1.4."""
    CHACHA20_POLY1305 = 2


@functools.cache  # one object for all directions, each of which has a word less for it
def _suite(cipher: Cipher, epoch: int) -> tuple[Cipher, int]:
    """Return the AEAD, and the records under one key of it."""
    return cipher, epoch


class _Numbers(ABC):
    """The numbers of the records of one direction of a connection, and their key."""

    __slots__ = ("_number",)
    _number: int

    def __repr__(self) -> str:
        return f"{type(self).__name__}(...)"

    def skip_to(self, number: int) -> None:
        """Leave out the records before ``number``, which both ends know. Raises RecordError if it has been used."""
        if number < self._number:
            raise RecordError(f"record {number} was used already")
        self._number = number

    @abstractmethod
    def _turn(self) -> tuple[Aead, bytes]:
        """Return the key and the nonce of the next record. Raises RecordError if there are no more."""


class _Chain(_Numbers):
    """The keys of a direction that has them for itself, epoch after epoch."""

    __slots__ = ("__weakref__", "_aead", "_left", "_secret", "_suite")

    def __init__(self, secret: bytes, cipher: Cipher, *, epoch: int = EPOCH, number: int = 0) -> None:
        """``secret`` has 32 bytes and belongs to this direction alone; ``number`` is that of the first record."""
        self._secret = secret
        self._suite = _suite(cipher, epoch)
        self._number = number
        self._left = epoch  # records that the present secret still seals
        self._aead: Aead | None = None

    def forget(self) -> None:
        """Release the key, which takes 2.5 kB; the secret yields it again."""
        self._aead = None

    def _turn(self) -> tuple[Aead, bytes]:
        if not self._left:
            self._next_secret()
        number = self._number
        if number == _MAX_NUMBER:
            raise RecordError("a connection has used up its records")
        aead = self._aead or self._load()
        self._number = number + 1
        self._left -= 1
        return aead, _NONCE.pack(number)

    def skip_to(self, number: int) -> None:
        """Leave out the records before ``number``, and their keys."""
        count = number - self._number
        super().skip_to(number)
        while count > self._left:
            count -= self._left
            self._next_secret()
        self._left -= count

    def _next_secret(self) -> None:
        self._secret = step(self._secret).secret
        self._left = self._suite[1]
        self.forget()

    def _load(self) -> Aead:
        self._aead = aead = make_aead(step(self._secret).key, self._suite[0])
        if len(_loaded) == MAX_LOADED and (oldest := _loaded.popleft()()):
            oldest.forget()
        _loaded.append(weakref.ref(self))
        return aead


_loaded: Final[deque["weakref.ref[_Chain]"]] = deque()  # in the order in which they loaded their keys


class _Shared(_Numbers):
    """The records of a connection under a key that belongs to its session; their nonces name the connection."""

    __slots__ = ("_aead", "_connection")

    def __init__(self, aead: Aead, connection: bytes) -> None:
        """Name the connection by its number, six bytes, which the session uses once."""
        self._aead = aead
        self._connection = connection
        self._number = 0

    def _turn(self) -> tuple[Aead, bytes]:
        number = self._number
        if number == _MAX_SHARED:
            raise RecordError("a connection has used up its records")
        self._number = number + 1
        return self._aead, self._connection + number.to_bytes(6)


class Sealer(_Numbers):
    """Seals the records of one direction, in their order."""

    __slots__ = ()

    def seal(self, plain: bytes | memoryview) -> bytes:
        """Return ``plain``, sealed: ``TAG_SIZE`` bytes longer."""
        aead, nonce = self._turn()
        return aead.encrypt(nonce, plain, None)

    def seal_into(self, plain: memoryview, sealed: memoryview) -> None:
        """Seal ``plain`` into ``sealed``, of exactly ``TAG_SIZE`` bytes more, which may begin at the same byte."""
        aead, nonce = self._turn()
        aead.encrypt_into(nonce, plain, None, sealed)

    def seal_in_place(self, kind: int, memory: memoryview) -> None:
        """Seal a body in ``memory``, which has a hole of ``KIND_SIZE`` bytes before it and ``TAG_SIZE`` after it."""
        memory[0] = kind
        self.seal_into(memory[:-TAG_SIZE], memory)

    def frame_in_place(self, kind: int, memory: memoryview) -> None:
        """Make a record for a byte stream in ``memory``, with another hole of ``HEADER_SIZE`` bytes in front."""
        memory[:HEADER_SIZE] = (len(memory) - HEADER_SIZE).to_bytes(HEADER_SIZE)
        self.seal_in_place(kind, memory[HEADER_SIZE:])

    def frame(self, kind: int, body: bytes = b"") -> bytes:
        """Return a record for a byte stream; ``body`` has at most ``MAX_BODY`` bytes."""
        return (len(body) + KIND_SIZE + TAG_SIZE).to_bytes(HEADER_SIZE) + self.seal(bytes([kind]) + body)


class Opener(_Numbers):
    """Opens the records of one direction, in their order. After an error none can be opened."""

    __slots__ = ()

    def open(self, sealed: bytes | memoryview) -> bytes:
        """Return what was sealed. Raises RecordError."""
        aead, nonce = self._turn()
        try:
            return aead.decrypt(nonce, sealed, None)
        except InvalidTag:
            raise RecordError("a record is not authentic") from None

    def open_in_place(self, sealed: memoryview) -> memoryview:
        """Return what was sealed, in the same memory. Raises RecordError; the memory is undefined then."""
        plain = sealed[: len(sealed) - TAG_SIZE]
        aead, nonce = self._turn()
        try:
            aead.decrypt_into(nonce, sealed, None, plain)
        except (InvalidTag, ValueError):  # ValueError: shorter than a tag
            raise RecordError("a record is not authentic") from None
        return plain


class ChainSealer(Sealer, _Chain):
    """Seals with keys of its own."""

    __slots__ = ()


class ChainOpener(Opener, _Chain):
    """Opens with keys of its own."""

    __slots__ = ()


class SharedSealer(Sealer, _Shared):
    """Seals with a key of the session."""

    __slots__ = ()


class SharedOpener(Opener, _Shared):
    """Opens with a key of the session."""

    __slots__ = ()


class Seals(NamedTuple):
    """Both directions of a connection, as one of its ends sees them."""

    sealer: Sealer
    opener: Opener
    payload: bool
    """True if users' bytes are sealed, too; otherwise only announcements of targets are."""
    identity: bytes = b""
    """The proof in the admission of the connection, which no other connection has."""
    resumes: bool = False
    """True if the connection resumes the session of another one, which its first record names."""


class Record(NamedTuple):
    """An opened record and the bytes after it."""

    kind: int
    body: bytes
    rest: bytes


class FirstRecord:
    """Reads the first record of a byte stream, however its bytes are cut, and none of those after it."""

    __slots__ = ("_buffer", "_limit", "_opener")

    def __init__(self, opener: Opener, limit: int) -> None:
        """``limit`` is the number of bytes that the body may have."""
        self._opener = opener
        self._limit = KIND_SIZE + limit + TAG_SIZE
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Record | None:
        """Take more bytes; return the record once it is complete. Raises RecordError."""
        self._buffer += data
        if len(self._buffer) < HEADER_SIZE:
            return None
        end = HEADER_SIZE + _length(self._buffer, 0, self._limit)
        if len(self._buffer) < end:
            return None
        plain = self._opener.open(bytes(self._buffer[HEADER_SIZE:end]))
        return Record(plain[0], plain[KIND_SIZE:], bytes(self._buffer[end:]))


class RecordReader:
    """Splits a byte stream into records, however its bytes are cut, and opens them."""

    __slots__ = ("_opener", "_rest", "_stopped", "take")

    def __init__(self, opener: Opener, take: Callable[[int, memoryview], None]) -> None:
        """``take`` gets kind and body of each record. It may be replaced at any time.

        The body is valid as long as the memory passed to ``feed``.
        """
        self._opener = opener
        self.take = take
        self._rest = _NOTHING  # the beginning of a record whose end has not arrived yet; all that follows a stop
        self._stopped = False

    @property
    def between_records(self) -> bool:
        """True if no part of another record has arrived."""
        return self._stopped or not self._rest

    @property
    def unfinished(self) -> int:
        """Bytes that are kept until the rest of a record arrives, or since a stop."""
        return len(self._rest)

    def stop(self) -> None:
        """Keep the bytes after the present record."""
        self._stopped = True

    def rest(self) -> bytes:
        """Return the bytes since the stop."""
        return bytes(self._rest)

    def feed(self, data: memoryview) -> None:
        """Take more bytes, in memory that may be overwritten. Raises RecordError."""
        start = self._finish_rest(data) if self._rest and not self._stopped else 0
        end = len(data)
        while end - start >= HEADER_SIZE and not self._stopped:
            body = start + HEADER_SIZE
            after = body + _length(data, start, _MAX_SEALED)
            if after > end:
                break
            self._open(data[body:after])
            start = after
        if start < end:
            self._rest = self._rest or bytearray()  # no idle connection has one of its own
            self._rest += data[start:]

    def _finish_rest(self, data: memoryview) -> int:
        """Complete the unfinished record; return how many bytes of ``data`` that took."""
        used = max(0, HEADER_SIZE - len(self._rest))
        self._rest += data[:used]
        if len(self._rest) < HEADER_SIZE:
            return len(data)
        whole = HEADER_SIZE + _length(self._rest, 0, _MAX_SEALED)
        missing = whole - len(self._rest)
        self._rest += data[used : used + missing]
        if len(self._rest) < whole:
            return len(data)
        record, self._rest = self._rest, _NOTHING
        self._open(memoryview(record)[HEADER_SIZE:])
        return used + missing

    def _open(self, sealed: memoryview) -> None:
        plain = self._opener.open_in_place(sealed)
        self.take(plain[0], plain[KIND_SIZE:])


def _length(data: memoryview | bytearray, at: int, limit: int) -> int:
    length = data[at] << 16 | data[at + 1] << 8 | data[at + 2]
    if not KIND_SIZE + TAG_SIZE <= length <= limit:
        raise RecordError(f"a record of {length} bytes announced")
    return length


def make_aead(key: bytes, cipher: Cipher) -> Aead:
    """Return the AEAD with the first bytes of ``key``, which has 32."""
    return AESGCM(key[:16]) if cipher is Cipher.AES_128_GCM else ChaCha20Poly1305(key)

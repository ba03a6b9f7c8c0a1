"""Sealed records: what two ends of this program send each other after their handshake.

A record is sealed with an AEAD under a key of one direction of one connection. The nonce is the number of the record,
which is not sent: a record that is lost, repeated or moved can't be opened. In a byte stream a record has its length in
front, three bytes, big-endian::

    u24 length | sealed (u8 kind | body)

The key is replaced after each ``EPOCH`` records by one that the old key does not reveal.

Importing this module loads ``cryptography``, which takes 10 MB: other rooms import it when the first peer needs it.
"""

import functools
from collections.abc import Callable
from enum import IntEnum
from struct import Struct
from typing import Final, NamedTuple

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

_MAX_SEALED: Final = MAX_BODY + KIND_SIZE + TAG_SIZE
_NONCE: Final = Struct("!4xQ")
_MAX_NUMBER: Final = 1 << 64


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


class _Direction:
    """The keys and numbers of one direction."""

    __slots__ = ("_aead", "_left", "_number", "_secret", "_suite")

    def __init__(self, secret: bytes, cipher: Cipher, *, epoch: int = EPOCH, number: int = 0) -> None:
        """``secret`` has 32 bytes and belongs to this direction alone; ``number`` is that of the first record."""
        self._secret = secret
        self._suite = _suite(cipher, epoch)
        self._number = number
        self._left = 0  # records that the present key still seals
        self._aead: AESGCM | ChaCha20Poly1305

    def __repr__(self) -> str:
        return f"{type(self).__name__}(...)"

    def skip_to(self, number: int) -> None:
        """Leave out the records before ``number``, which both ends know. Raises RecordError if it has been used."""
        if number < self._number:
            raise RecordError(f"record {number} was used already")
        left_out = number - self._number
        while left_out > self._left:
            left_out -= self._left
            self._next_key()
        self._left -= left_out
        self._number = number

    def _nonce(self) -> bytes:
        """Return the nonce of the next record, whose key is in ``_aead`` then. Raises RecordError after 2^64."""
        if not self._left:
            self._next_key()
        number = self._number
        if number == _MAX_NUMBER:
            raise RecordError("a connection has had as many records as it may have")
        self._number = number + 1
        self._left -= 1
        return _NONCE.pack(number)

    def _next_key(self) -> None:
        cipher, self._left = self._suite
        key, self._secret = step(self._secret)
        self._aead = make_aead(key, cipher)


class Sealer(_Direction):
    """Seals the records of one direction, in their order."""

    __slots__ = ()

    def seal(self, plain: bytes | memoryview) -> bytes:
        """Return ``plain``, sealed: ``TAG_SIZE`` bytes longer."""
        nonce = self._nonce()
        return self._aead.encrypt(nonce, plain, None)

    def seal_into(self, plain: memoryview, sealed: memoryview) -> None:
        """Seal ``plain`` into ``sealed``, of exactly ``TAG_SIZE`` bytes more, which may begin at the same byte."""
        nonce = self._nonce()
        self._aead.encrypt_into(nonce, plain, None, sealed)

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


class Opener(_Direction):
    """Opens the records of one direction, in their order. After an error none can be opened."""

    __slots__ = ()

    def open(self, sealed: bytes | memoryview) -> bytes:
        """Return what was sealed. Raises RecordError."""
        nonce = self._nonce()
        try:
            return self._aead.decrypt(nonce, sealed, None)
        except InvalidTag:
            raise RecordError("a record is not authentic") from None

    def open_in_place(self, sealed: memoryview) -> memoryview:
        """Return what was sealed, in the same memory. Raises RecordError; the memory is undefined then."""
        plain = sealed[: len(sealed) - TAG_SIZE]
        nonce = self._nonce()
        try:
            self._aead.decrypt_into(nonce, sealed, None, plain)
        except (InvalidTag, ValueError):  # ValueError: shorter than a tag
            raise RecordError("a record is not authentic") from None
        return plain


class Seals(NamedTuple):
    """Both directions of a connection, as one of its ends sees them."""

    sealer: Sealer
    opener: Opener
    payload: bool
    """True if users' bytes are sealed, too; otherwise only announcements of targets are."""


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

    __slots__ = ("_opener", "_rest", "take")

    def __init__(self, opener: Opener, take: Callable[[int, memoryview], None]) -> None:
        """``take`` gets kind and body of each record. It may be replaced at any time.

        The body is valid as long as the memory that ``feed`` has got.
        """
        self._opener = opener
        self.take = take
        self._rest = bytearray()  # the beginning of a record whose end has not arrived yet

    def feed(self, data: memoryview) -> None:
        """Take more bytes, in memory that may be overwritten. Raises RecordError."""
        start = self._finish_rest(data) if self._rest else 0
        end = len(data)
        while end - start >= HEADER_SIZE:
            body = start + HEADER_SIZE
            after = body + _length(data, start, _MAX_SEALED)
            if after > end:
                break
            self._open(data[body:after])
            start = after
        if start < end:
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
        record, self._rest = self._rest, bytearray()
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


def make_aead(key: bytes, cipher: Cipher) -> AESGCM | ChaCha20Poly1305:
    """Return the AEAD with the first bytes of ``key``, which has 32."""
    return AESGCM(key[:16]) if cipher is Cipher.AES_128_GCM else ChaCha20Poly1305(key)

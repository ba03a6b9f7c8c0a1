"""Sealed datagrams: like records, but each one carries its number, because datagrams are lost, repeated and reordered.

A datagram of a tunnel of transport udp, sealed with an AEAD under a key of one direction of it::

    u64 masked number | sealed payload

The number is big-endian and XORed with a mask that the key yields, so tunnels do not begin with zeros, and an
unauthenticated peer does not find a number that is worth decrypting. Number and mask together are the nonce.
``number >> EPOCH_BITS`` selects the key: each one yields the next, and is forgotten one epoch later.
"""

from struct import Struct
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

from .derive import derive, step
from .records import TAG_SIZE, Cipher, RecordError, make_aead
from .replay import ReplayWindow

NUMBER_SIZE: Final = 8
OVERHEAD: Final = NUMBER_SIZE + TAG_SIZE
"""Bytes that a sealed datagram has beyond its payload."""
EPOCH_BITS: Final = 20
"""An epoch has 2^20 datagrams, 64 GiB at most; see ``records.EPOCH``."""
AHEAD: Final = 8
"""Epochs that may be lost as a whole: 80 s at 100 000 datagrams a second, after which a flow has ended."""

_NUMBER: Final = Struct("!Q")
_MAX_NUMBER: Final = 1 << 64
_NONCE: Final = Struct("!4xQ")
_NONCE_START: Final = 4  # bytes before the masked number


class _Keys:
    """The keys of one direction, epoch after epoch."""

    __slots__ = ("_cipher", "_secret", "mask")

    def __init__(self, secret: bytes, cipher: Cipher) -> None:
        """``secret`` has 32 bytes and belongs to this direction alone."""
        self._secret = secret
        self._cipher = cipher
        self.mask = _NUMBER.unpack_from(derive(secret, b"mask"))[0]

    def next(self) -> AESGCM | ChaCha20Poly1305:
        """Return the AEAD of the next epoch."""
        key, self._secret = step(self._secret)
        return make_aead(key, self._cipher)


class DatagramSealer:
    """Seals the datagrams of one direction."""

    __slots__ = ("_aead", "_bits", "_end", "_keys", "_mask", "_number")

    def __init__(self, secret: bytes, cipher: Cipher, *, epoch_bits: int = EPOCH_BITS, number: int = 0) -> None:
        """``secret`` has 32 bytes and belongs to this direction alone; ``number`` is that of the first datagram."""
        self._keys = _Keys(secret, cipher)
        self._mask = self._keys.mask
        self._bits = epoch_bits
        self._number = number
        self._end = number  # of the epoch of the present key
        self._aead: AESGCM | ChaCha20Poly1305

    def __repr__(self) -> str:
        return "DatagramSealer(...)"

    def seal(self, payload: bytes | memoryview) -> bytes:
        """Return ``payload``, sealed: ``OVERHEAD`` bytes longer. Raises RecordError after 2^64."""
        number = self._number
        if number == self._end:
            self._next_key()
        self._number = number + 1
        nonce = _NONCE.pack(number ^ self._mask)
        return nonce[_NONCE_START:] + self._aead.encrypt(nonce, payload, None)

    def _next_key(self) -> None:
        if self._number == _MAX_NUMBER:
            raise RecordError("a tunnel has used up its datagrams")
        self._end = (self._number >> self._bits) + 1 << self._bits
        self._aead = self._keys.next()


class DatagramOpener:
    """Opens the datagrams of one direction in any order, each once."""

    __slots__ = ("_aeads", "_bits", "_epoch", "_keys", "_mask", "_next", "_window")

    def __init__(self, secret: bytes, cipher: Cipher, *, epoch_bits: int = EPOCH_BITS, number: int = 0) -> None:
        """``secret`` and ``number`` are those of the sealer."""
        self._keys = _Keys(secret, cipher)
        self._mask = self._keys.mask
        self._bits = epoch_bits
        self._epoch = number >> epoch_bits  # the latest one with an authentic datagram
        self._next = self._epoch  # the first one whose key was not needed yet
        self._aeads: dict[int, AESGCM | ChaCha20Poly1305] = {}
        self._window = ReplayWindow()

    def __repr__(self) -> str:
        return "DatagramOpener(...)"

    def open(self, datagram: bytes | memoryview) -> bytes | None:
        """Return what was sealed; None if it is not authentic, was opened before, or is too old to tell."""
        if len(datagram) < OVERHEAD:
            return None
        number = _NUMBER.unpack_from(datagram)[0] ^ self._mask
        if not self._window.fresh(number):
            return None
        payload = self.decrypt(number, datagram)
        if payload is not None:
            self._window.mark(number)
        return payload

    def number(self, datagram: bytes | memoryview) -> int:
        """Return the number of a datagram of at least ``OVERHEAD`` bytes, which may not be authentic."""
        number: int = _NUMBER.unpack_from(datagram)[0] ^ self._mask
        return number

    def masked(self, number: int) -> bytes:
        """Return the first bytes of the datagram with this number."""
        return _NUMBER.pack(number ^ self._mask)

    def fresh(self, number: int) -> bool:
        """Return whether no datagram with this number was used, as far as can be told."""
        return self._window.fresh(number)

    def spent(self, datagram: bytes | memoryview) -> bool:
        """Return whether a datagram bears a number that was used, or is too old to tell."""
        return len(datagram) >= OVERHEAD and not self._window.fresh(self.number(datagram))

    def use(self, number: int) -> bool:
        """Mark the number of an authentic datagram as used; return whether it was fresh."""
        return self._window.use(number)

    def decrypt(self, number: int, datagram: bytes | memoryview) -> bytes | None:
        """Return what was sealed, be it a repeat or not; None if ``datagram`` is not authentic."""
        epoch = number >> self._bits
        aead = self._aeads.get(epoch) or self._key_ahead(epoch)
        if not aead:
            return None
        try:
            payload = aead.decrypt(_NONCE.pack(number ^ self._mask), datagram[NUMBER_SIZE:], None)
        except InvalidTag:
            return None
        if epoch > self._epoch:
            self._enter(epoch)
        return payload

    def _key_ahead(self, epoch: int) -> AESGCM | ChaCha20Poly1305 | None:
        """Return the key of an epoch that may be next.

        Datagrams that are not authentic may cause this, too. No key is forgotten for them, and ``AHEAD`` bounds them.
        """
        if not self._next <= epoch <= self._epoch + AHEAD:
            return None
        for epoch_ahead in range(self._next, epoch + 1):
            self._aeads[epoch_ahead] = self._keys.next()
        self._next = epoch + 1
        return self._aeads[epoch]

    def _enter(self, epoch: int) -> None:
        """Forget the keys of epochs that have passed, except the last one, for late datagrams."""
        self._epoch = epoch
        self._aeads = {known: aead for known, aead in self._aeads.items() if known >= epoch - 1}

"""Sealed targets of sessions in clear. Importing this module loads ``cryptography``, which takes 10 MB."""

import random
from typing import TYPE_CHECKING

from backhaul.security import kinds
from backhaul.security.records import TAG_SIZE, Opener, RecordError, Seals
from backhaul.wire.strings import StringReader, StringTooLongError, encode_string
from backhaul.wire.targets import MAX_TARGET

from .altered import AlteredError
from .targets import TargetReader

if TYPE_CHECKING:
    from .sink import TunnelStream


class SealedTargets:
    """Targets, each in a record.

    The number of each is the id of its stream, because the client refuses some streams before it has read their
    targets. Streams are opened in the order of their ids, so a target that arrives twice or elsewhere can't be opened.
    """

    __slots__ = ("_opener", "_sealer")

    def __init__(self, seals: Seals) -> None:
        self._sealer, self._opener = seals.sealer, seals.opener  # without the tuple around them

    def announce(self, stream: "TunnelStream", target: bytes) -> None:
        """Begin a stream with its sealed target."""
        self._sealer.skip_to(stream.id)
        padded = kinds.pad(target, random.getrandbits(kinds.PADDING_BITS))
        stream.push(encode_string(self._sealer.seal(padded)))

    def reader(self, stream: "TunnelStream") -> TargetReader:
        """Return the reader of the sealed target."""
        return _SealedTarget(self._opener, stream.id)


class _SealedTarget:
    """Reads the target of one stream."""

    __slots__ = ("_number", "_opener", "_reader")

    def __init__(self, opener: Opener, number: int) -> None:
        self._opener = opener
        self._number = number
        self._reader = StringReader(MAX_TARGET + kinds.MAX_PADDING + TAG_SIZE)

    def feed(self, data: memoryview) -> tuple[bytes, bytes] | None:
        """Return the target once it is complete, and the bytes after it. Raises AlteredError."""
        try:
            found = self._reader.feed(data)
            return found and (self._open(found[0]), found[1])
        except (RecordError, StringTooLongError) as error:
            raise AlteredError(f"the target of a stream can't be opened: {error}") from None

    def _open(self, sealed: bytes) -> bytes:
        self._opener.skip_to(self._number)
        return kinds.unpad(self._opener.open(sealed))

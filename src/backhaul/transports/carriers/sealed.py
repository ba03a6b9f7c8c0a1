"""Sealed announcements of targets: the common part of tcp, ws and wss."""

import random
from typing import Final

from backhaul.security import kinds
from backhaul.security.records import RecordError
from backhaul.wire.targets import MAX_TARGET

ALTERED: Final = "something between both ends alters its bytes"
MAX_BODY: Final = MAX_TARGET + kinds.MAX_PADDING
"""Bytes of an announcement."""
_TARGETS: Final = frozenset({kinds.TCP, kinds.UDP})


def target_of(kind: int, body: bytes) -> str:
    """Return the target of an opened announcement. Raises RecordError."""
    if kind not in _TARGETS:
        raise RecordError(f"a record of kind {kind} instead of the target")
    return kinds.unpad(body).decode("utf-8", "replace") or "(empty)"


def padded(target: str) -> bytes:
    """Return the body of an announcement."""
    return kinds.pad(target.encode(), random.getrandbits(kinds.PADDING_BITS))

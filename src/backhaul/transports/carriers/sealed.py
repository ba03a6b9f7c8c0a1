"""Sealed announcements of targets: the common part of tcp, ws and wss."""

from typing import Final

from backhaul.security import kinds
from backhaul.security.records import RecordError

ALTERED: Final = "something between both ends alters its bytes"
_TARGETS: Final = frozenset({kinds.TCP, kinds.UDP})


def target_of(kind: int, body: bytes) -> str:
    """Return the target of an opened announcement. Raises RecordError."""
    if kind not in _TARGETS:
        raise RecordError(f"a record of kind {kind} instead of the target")
    return body.decode("utf-8", "replace") or "(empty)"

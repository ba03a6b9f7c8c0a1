"""The removal of headers that hold the token or reveal the tunnel, before a website gets a request."""

import base64
import binascii
import re
from collections.abc import Callable
from typing import Final
from urllib.parse import unquote_to_bytes

_BASE64: Final = re.compile(rb"[A-Za-z0-9+/_-]{4,}={0,2}")
_UPGRADE: Final = b"sec-websocket-"

Headers = list[tuple[bytes, bytes]]


class Scrubber:
    """Removes traces of the tunnel from requests: a client with a wrong path is a visitor as well."""

    def __init__(self, tokens: Callable[[], tuple[bytes, ...]]) -> None:
        """``tokens`` returns the tokens, which must stay secret."""
        self._tokens = tokens

    def scrub(self, headers: Headers) -> Headers:
        """Return the headers without tokens in any spelling, and without those of an upgrade."""
        kept = []
        for name, value in headers:
            lower = name.lower()
            if lower.startswith(_UPGRADE) or (lower == b"authorization" and self.reveals(value)):
                continue
            kept.append((name, value))
        return kept

    def reveals(self, value: bytes) -> bool:
        """Return whether a reader of ``value`` may find a token in it."""
        readings = [value, unquote_to_bytes(value)]
        readings += [decoded for reading in tuple(readings) for decoded in _decodings(reading)]
        readings += [unquote_to_bytes(reading) for reading in tuple(readings)]
        plain = [bare for token in self._tokens() if (bare := _squash(token))]
        return any(bare in squashed for squashed in map(_squash, readings) for bare in plain)


def _squash(value: bytes) -> bytes:
    return b"".join(value.split()).lower()


def _decodings(value: bytes) -> list[bytes]:
    """Return the words of ``value``, decoded as base64."""
    found = []
    for word in _BASE64.findall(value):
        bare = word.rstrip(b"=")
        try:
            found.append(
                base64.urlsafe_b64decode(bare.replace(b"+", b"-").replace(b"/", b"_") + b"=" * (-len(bare) % 4))
            )
        except binascii.Error:
            continue
    return found

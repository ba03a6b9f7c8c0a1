"""The form of a line of the access log."""

import time
from collections.abc import Callable
from functools import lru_cache
from typing import Final, Literal

import msgspec

from backhaul.state import UserEnd

from .log import escape

Format = Literal["json", "text"]
Line = Callable[[UserEnd], bytes]

_ENCODE: Final = msgspec.json.Encoder().encode


class Stamp:
    """The time as text in UTC, with milliseconds; the text of a second is made once."""

    def __init__(self) -> None:
        self._second = 0
        self._text = b""
        # Formatting them each time takes three times as long.
        self._fractions = tuple(b".%03dZ" % number for number in range(1000))

    def __call__(self, now: float) -> bytes:
        """Return ``now``, seconds since 1970, in the form of RFC 3339."""
        second = int(now)
        if second != self._second:
            self._second, self._text = second, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second)).encode()
        return self._text + self._fractions[int((now - second) * 1000)]


def lines(form: Format) -> Line:
    """Return what makes the line of a user who leaves now. A line costs 3 microseconds of the event loop."""
    stamp = Stamp()

    def as_json(user: UserEnd) -> bytes:
        return b'{"time":"%b",%b\n' % (stamp(time.time()), _ENCODE(user)[1:])

    def as_text(user: UserEnd) -> bytes:
        words = (
            f" {user.id} {user.protocol} {user.user} {_word(user.port)} {_word(user.client)} "
            f"{_word(user.target)} {user.received} {user.sent} {user.seconds} {user.ending}\n"
        )
        return stamp(time.time()) + words.encode(errors="backslashreplace")

    return as_json if form == "json" else as_text


@lru_cache(maxsize=1024)
def _word(text: str) -> str:
    """Return one word: without text a dash, and without spaces."""
    return escape(text).replace(" ", "\\x20") or "-"

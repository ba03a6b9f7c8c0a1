"""The form of a line of the access log."""

import time
from typing import Final, Literal

import msgspec
from msgspec import Struct

from backhaul.addresses import address_text, port_name
from backhaul.state import UserEnd

from .log import escape

Format = Literal["json", "text"]
_ENCODE: Final = msgspec.json.Encoder().encode


class _Entry(Struct, gc=False):
    """The fields of a line in JSON."""

    time: str
    id: int
    protocol: str
    user: str
    port: str
    client: str
    target: str
    received: int
    sent: int
    seconds: float
    ending: str


class Stamp:
    """The time as text in UTC, with milliseconds; the text of a second is made once."""

    def __init__(self) -> None:
        self._second = 0
        self._text = ""

    def __call__(self, now: float) -> str:
        """Return ``now``, seconds since 1970, in the form of RFC 3339."""
        second = int(now)
        if second != self._second:
            self._second, self._text = second, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return f"{self._text}.{int((now - second) * 1000):03d}Z"


class Lines:
    """Makes lines of one format."""

    def __init__(self, form: Format) -> None:
        self._render = _json if form == "json" else _text
        self._stamp = Stamp()

    def __call__(self, user: UserEnd) -> bytes:
        """Return the line of a user who has left now."""
        return self._render(
            _Entry(
                self._stamp(time.time()),
                user.number,
                "udp" if user.datagrams else "tcp",
                address_text(user.host, user.port),
                port_name(user.bind_host, user.bind_port),
                user.client,
                user.target,
                user.received,
                user.sent,
                round(user.seconds, 3),
                user.ending,
            )
        )


def _json(entry: _Entry) -> bytes:
    return _ENCODE(entry) + b"\n"


def _text(entry: _Entry) -> bytes:
    words = (getattr(entry, name) for name in _Entry.__struct_fields__)
    return (" ".join(_word(str(word)) for word in words) + "\n").encode(errors="backslashreplace")


def _word(text: str) -> str:
    """Return one word: without text a dash, and without spaces."""
    return escape(text).replace(" ", "\\x20") or "-"

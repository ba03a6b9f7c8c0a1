"""The lines of the access log, made for many users at once."""

import time
from collections.abc import Callable
from functools import lru_cache
from typing import Final, Literal

import msgspec

from backhaul.reports import UserEnd

from .log import escape

Format = Literal["json", "text"]
Lines = Callable[[list[UserEnd]], bytes]

_FRACTIONS: Final = tuple(f".{number:03}Z" for number in range(1000))


def lines(form: Format) -> Lines:
    """Return a function that makes whole lines of users who have left."""
    return msgspec.json.Encoder().encode_lines if form == "json" else _as_text


def stamp() -> Callable[[float], str]:
    """Return a function that writes a time, seconds since 1970, as RFC 3339 with milliseconds."""
    second, end, text = 0.0, 0.0, ""  # nearly all lines have the second of the line before, so its text is made once

    def write(now: float) -> str:
        nonlocal second, end, text
        if not second <= now < end:
            second = now // 1
            end = second + 1
            text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return text + _FRACTIONS[int((now - second) * 1000)]

    return write


def _as_text(users: list[UserEnd]) -> bytes:
    return "".join(map(_text, users)).encode(errors="backslashreplace")


def _text(user: UserEnd) -> str:
    return (
        f"{user.time} {user.id} {user.protocol} {user.user} {user.user_port} "
        f"{_way(user.port, user.client, user.target)} {user.received} {user.sent} {user.seconds} {user.ending}\n"
    )


@lru_cache(maxsize=1024)
def _way(port: str, client: str, target: str) -> str:
    """Return the three words of a way, which many users share; making them takes a quarter of the line's time."""
    return f"{_word(port)} {_word(client)} {_word(target)}"


def _word(text: str) -> str:
    """Return the text as one word without spaces; a dash for an empty text."""
    return escape(text).replace(" ", "\\x20") or "-"

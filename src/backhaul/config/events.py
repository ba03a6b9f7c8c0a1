"""The key for events: a command or a URL."""

import shlex
from urllib.parse import urlsplit

from .secret import Secret


def parse_on_event(text: str) -> Secret:
    """Read the key; raise ValueError with the mistake, which holds no part of the text."""
    if is_url(text):
        _check_url(text)
    elif "\0" in text:
        raise ValueError("a command holds no NUL character")
    elif text and not shlex.split(text):
        raise ValueError("it names no program")
    return Secret(text)


def is_url(target: str) -> bool:
    """Return whether events go to a URL, not to a command."""
    return target.lower().startswith(("http://", "https://"))


def _check_url(text: str) -> None:
    if not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError("a URL holds no spaces, and other letters as %XX")
    try:
        parts = urlsplit(text)
        whole = bool(parts.hostname) and parts.port != 0
    except ValueError:  # its text may hold a part of the password
        whole = False
    if not whole:
        raise ValueError("the URL lacks a host, or its port is no number from 1 to 65535")

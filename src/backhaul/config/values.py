"""Parsers of text values with a form of their own. Each raises ValueError with the mistake."""

import re
import unicodedata
from collections.abc import Callable, Iterable
from typing import Final, Literal, TypeVar, get_args
from urllib.parse import urlsplit

from backhaul.paths import is_folder
from backhaul.wire.allowed import parse_rules

from .address import parse_host
from .errors import ConfigError
from .messages import brief
from .secret import Secret

Value = TypeVar("Value")

LogLevel = Literal["panic", "fatal", "error", "warn", "info", "debug", "trace"]
LOG_LEVELS: tuple[str, ...] = get_args(LogLevel)

MAX_TOKEN = 0xFFFF  # bytes: the handshake counts them in 16 bits
SHA256_DIGITS = 64
_MAX_INTERFACE = 15  # bytes: IFNAMSIZ of Linux, less the NUL at the end
_INTERFACE = re.compile(r"[^\s/:\x00-\x1f\x7f]+")  # dev_valid_name of Linux
_URL_PATH = re.compile(r"(/[\w.~!$&'()*+,;=:@%-]+)*", re.ASCII)  # segments of RFC 3986, section 3.3


ALLOWED: Final = 'a list of texts such as "db.example:5432", "10.0.0.0/8:80-90" or ":22"'
"""The format of ``allow_targets``."""


def parse_token(text: str) -> Secret:
    """Read a token: one line, at most MAX_TOKEN bytes (it travels in a handshake or in an HTTP header)."""
    if len(text.encode()) > MAX_TOKEN:
        raise ValueError(f"it is longer than {MAX_TOKEN} bytes")
    if any(unicodedata.category(letter) == "Cc" for letter in text):
        raise ValueError("it holds a control character or a line break")
    return Secret(text)


def parse_tokens(entries: Iterable[object]) -> tuple[Secret, ...]:
    """Read a list of tokens; raise ConfigError with every mistake, which never holds the token."""
    return each(entries, _token, lambda number, _: str(number))


def _token(entry: object) -> Secret:
    if not isinstance(entry, str) or not entry:
        raise ValueError("expected text in quotes")
    return parse_token(entry)


def parse_log_level(text: str) -> str:
    """Read a log level in any case; "warning" means "warn", as in v0.7.2."""
    level = text.lower().replace("warning", "warn")
    if level not in LOG_LEVELS:
        raise ValueError
    return level


def parse_access_log(text: str) -> str:
    """Read the place of the access log."""
    if text not in {"", "stdout", "journal"} and (not text.startswith("/") or "\0" in text):
        raise ValueError
    return text


def parse_url_path(text: str) -> str:
    """Read the path before ``/channel``; return it without a slash at the end."""
    path = text.rstrip("/")
    if not _URL_PATH.fullmatch(path):
        raise ValueError("it starts with a slash and holds no spaces, `?` or `#`")
    return path


def parse_allowed(entries: Iterable[object]) -> tuple[str, ...]:
    """Read entries of ``allow_targets``; raise ConfigError with every mistake."""
    return each(entries, _allowed, lambda _, entry: brief(entry))


def each(
    entries: Iterable[object], read: Callable[[object], Value], name: Callable[[int, object], str]
) -> tuple[Value, ...]:
    """Read all entries; raise ConfigError with every mistake, each entry called by its ``name``."""
    found, problems = [], []
    for number, entry in enumerate(entries, 1):
        try:
            found.append(read(entry))
        except ValueError as mistake:
            problems.append(f"entry {name(number, entry)}: {mistake}")
    if problems:
        raise ConfigError(problems)
    return tuple(found)


def _allowed(entry: object) -> str:
    if not isinstance(entry, str):
        raise ValueError('write it in quotes, such as ":22" or "10.0.0.0/8:80-90"')  # noqa: TRY004 - a user's mistake
    parse_rules(entry)
    return entry


def parse_decoy(text: str) -> str:
    """Read a decoy: "404", an existing directory, or the URL of an upstream, whose login is dropped."""
    if text.startswith(("http://", "https://")):
        _check_upstream(text)
        login, at, _ = urlsplit(text).netloc.rpartition("@")
        return text.replace(login + at, "", 1)
    if text != "404" and not is_folder(text):
        raise ValueError("no such directory")
    return text


def _check_upstream(url: str) -> None:
    parts = urlsplit(url)
    parse_host(parts.hostname or "")
    if parts.port == 0:
        raise ValueError("port 0 cannot be dialled")


def parse_interface(text: str) -> str:
    """Read the name of a network interface, which need not exist yet."""
    if text in (".", "..") or len(text.encode()) > _MAX_INTERFACE or not _INTERFACE.fullmatch(text):
        raise ValueError(f"it has at most {_MAX_INTERFACE} bytes, and no space, `/` or `:`")
    return text


def parse_fingerprint(text: str) -> str:
    """Read a SHA-256 fingerprint, with or without colons; return lower-case hexadecimal digits."""
    digits = text.replace(":", "").lower()
    if not re.fullmatch(r"[0-9a-f]*", digits) or len(digits) != SHA256_DIGITS:
        raise ValueError('`openssl x509 -noout -fingerprint -sha256 -in server.crt` prints it after the "="')
    return digits

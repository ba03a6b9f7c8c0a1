"""Answers in the form of nginx with ``server_tokens off``."""

import time
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Protocol

from .head import Head

_HEADER_TOO_LARGE: Final = 494
PLAIN_ON_TLS: Final = 497
LOAD_SIZE: Final = 1 << 18
"""Bytes of a file that are read ahead into the system's memory for a visitor."""
_REASONS: Final = {
    200: "OK",
    206: "Partial Content",
    301: "Moved Permanently",
    304: "Not Modified",
    400: "Bad Request",
    403: "Forbidden",
    404: "Not Found",
    405: "Not Allowed",
    412: "Precondition Failed",
    413: "Request Entity Too Large",
    414: "Request-URI Too Large",
    416: "Requested Range Not Satisfiable",
    426: "Upgrade Required",
    500: "Internal Server Error",
    501: "Not Implemented",
    502: "Bad Gateway",
    503: "Service Temporarily Unavailable",
    504: "Gateway Time-out",
    505: "HTTP Version Not Supported",
}
# nginx's own numbers for two kinds of 400, each with a title and a second line of its own.
_DETAILS: Final = {
    _HEADER_TOO_LARGE: "Request Header Or Cookie Too Large",
    PLAIN_ON_TLS: "The plain HTTP request was sent to HTTPS port",
}
_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_CLOSING: Final = frozenset({400, 413, 414, 494, 497, 500, 501, 505})
_TAIL: Final = "<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
_PADDING: Final = "<!-- a padding to disable MSIE and Chrome friendly error page -->\r\n" * 6


class SentFile(Protocol):
    """A file that is being sent; the answer owns it."""

    fd: int

    async def read(self, start: int, size: int) -> bytes:
        """Return a part of the file. Raises OSError, also if the file has become shorter."""

    async def load(self, start: int, size: int) -> None:
        """Let the system read a part of at most ``LOAD_SIZE`` bytes into its memory."""

    def close(self) -> None:
        """Close the file."""


class FileRange(NamedTuple):
    """A part of the file that is being sent."""

    start: int
    size: int


@dataclass(slots=True, kw_only=True)
class Answer:
    """An answer to a visitor."""

    status: int
    kind: str = ""
    """The content type; empty if there is no content."""
    body: list[bytes | FileRange] = field(default_factory=list)
    fields: list[tuple[str, str]] = field(default_factory=list)
    """Header lines before ``Connection``."""
    extra: list[tuple[str, str]] = field(default_factory=list)
    """Header lines after ``Connection``."""
    closing: bool = False
    """True if the connection is closed after the answer."""
    says_closing: bool = True
    """True if the header ``Connection`` announces that."""
    continues: bool = False
    """True if a visitor that expects 100 Continue gets it first."""
    file: SentFile | None = None
    """The file of the ranges in ``body``; the receiver of the answer closes it."""

    @property
    def size(self) -> int:
        """The length of the body."""
        return sum(part.size if isinstance(part, FileRange) else len(part) for part in self.body)


def page(status: int, head: Head, *, location: str = "") -> Answer:
    """Return the page that nginx has for a status."""
    answer = Answer(status=status, kind="text/html", closing=status in _CLOSING)
    answer.body.append(_page_text(status, padded=_wants_padding(status, head)).encode())
    if location:
        answer.fields.append(("Location", location))
    return answer


def encode_head(answer: Answer, head: Head, *, keep: bool) -> bytes:
    """Return the head of ``answer``; HTTP/0.9 has none."""
    if head.version < 10:  # noqa: PLR2004 - HTTP/1.0
        return b""
    status = 400 if answer.status in _DETAILS else answer.status
    lines = [f"HTTP/1.1 {status} {_REASONS[status]}", "Server: nginx", f"Date: {http_date(None)}"]
    if answer.kind:
        lines += [f"Content-Type: {answer.kind}", f"Content-Length: {answer.size}"]
    lines += [f"{name}: {value}" for name, value in answer.fields]
    lines.append(f"Connection: {'keep-alive' if keep else 'close'}")
    lines += [f"{name}: {value}" for name, value in answer.extra]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def http_date(seconds: float | None) -> str:
    """Return a time, or the present one, in the format of HTTP. The email package would take half a megabyte."""
    at = time.gmtime(seconds)
    clock = f"{at.tm_hour:02}:{at.tm_min:02}:{at.tm_sec:02}"
    return f"{_DAYS[at.tm_wday]}, {at.tm_mday:02} {_MONTHS[at.tm_mon - 1]} {at.tm_year} {clock} GMT"


def _page_text(status: int, *, padded: bool) -> str:
    detail = _DETAILS.get(status, "")
    heading = f"{400 if detail else status} {_REASONS[400 if detail else status]}"
    title = f"400 {detail}" if detail else heading
    text = f"<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n<center><h1>{heading}</h1></center>\r\n"
    if detail:
        text += f"<center>{detail}</center>\r\n"
    return text + _TAIL + (_PADDING if padded else "")


def _wants_padding(status: int, head: Head) -> bool:
    """Return whether the browser would replace a short page by its own (msie_padding)."""
    agent = head.header(b"user-agent") or b""
    if status < 400 or head.version < 10:  # noqa: PLR2004 - HTTP/1.0
        return False
    return b"MSIE " in agent or (b"Chrome/" in agent and b"Gecko/" not in agent and b"Opera" not in agent)

"""Request heads as nginx reads them: the same ones are accepted and refused, at the same byte.

Written from the documentation of nginx and the answers of nginx 1.22; ``tests/interop/test_decoy_nginx.py`` compares
both.
"""

import re
from dataclasses import dataclass, field
from typing import Final

from backhaul.errors import BackhaulError

_FIRST_BUFFER: Final = 1024  # client_header_buffer_size
_LARGE_BUFFER: Final = 8192  # bytes of each of large_client_header_buffers
_LARGE_BUFFERS: Final = 4  # the number of large_client_header_buffers
# Headers that may occur once.
_UNIQUE: Final = frozenset(
    b"host if-modified-since if-unmodified-since if-match if-none-match content-length content-range if-range "
    b"transfer-encoding expect authorization".split()
)
_KEPT: Final = _UNIQUE | {b"connection", b"range", b"user-agent"}
_BAD_NAME: Final = re.compile(rb"^[\x00-\x20\x7f:]|^[^:]*?[\x00-\x20\x7f]")
_GOOD_NAME: Final = re.compile(rb"[A-Za-z0-9-]+")
_BAD_VALUE: Final = re.compile(rb"\x00|\r+[^\r]")
_HOST_ADDRESS: Final = re.compile(rb"(\[[^\]]*\]|[^:\[]*)(:.*)?")


def _beginnings(*parts: str) -> str:
    """Return a pattern for all beginnings of the concatenation of ``parts``."""
    pattern = ""
    for part in reversed(parts):
        pattern = f"(?:{part}{pattern})?"
    return pattern


_TARGET: Final = r"/[^\x00-\x20\x7f]*"
_VERSION: Final = ("H", "T", "T", "P", "/", "1", r"\.", "[0-9]", "[0-9]{0,2}", " *")
_ABSOLUTE: Final = ("[A-Za-z]", "[A-Za-z0-9+.-]*", ":", "/", "/", r"(?:\[[^\]\s/]*\]?|[A-Za-z0-9.-]*)", "(?::[0-9]*)?")
_REST: Final = r"(?:[/?][^\x00-\x20\x7f]*)?"
_END: Final = ("\r", "\n")
_METHOD: Final = ("[A-Z_-]+", " +")
_LINE_BEGINNING: Final = re.compile(
    "(?:"
    + "|".join(
        _beginnings(*_METHOD, *target, *rest)
        for target in ((_TARGET,), (*_ABSOLUTE, _REST))
        for rest in ((" +", *_VERSION, *_END), (" *", *_END))
    )
    + r")\Z",
    re.DOTALL,
)
_LINE: Final = re.compile(
    r"(?P<method>[A-Z_-]+) +(?:[A-Za-z][A-Za-z0-9+.-]*://(?P<host>\[[^\]\s/]*\]|[A-Za-z0-9.-]*)(?::[0-9]*)?)?"
    r"(?P<target>(?:[/?][^\x00-\x20\x7f]*)?)(?: +HTTP/1\.(?P<minor>[0-9]{1,3}))? *\Z"
)
_OTHER_VERSION: Final = re.compile(
    "".join(_METHOD) + f"(?:{_TARGET}|{''.join(_ABSOLUTE)}{_REST})" + " +HTTP/(?:[2-9]|1[0-9])"
)


class BadRequestError(BackhaulError):
    """A request that nginx answers with an error page before it closes the connection."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


@dataclass(slots=True)
class Head:
    """A request up to its blank line."""

    method: str = ""
    target: str = ""
    """Path and query as received."""
    path: str = ""
    """Decoded byte by byte (latin-1), without dots and double slashes."""
    host: str = ""
    """In lower case, without the port."""
    version: int = 10
    """9, 10 or 11; 10 until it is known."""
    headers: dict[bytes, bytes] = field(default_factory=dict, repr=False)
    """The headers that an answer depends on, with names in lower case; the last one of a repeated name. The others are
    in the raw head only: 32 KiB of short lines would take 300 KiB here."""

    def header(self, name: bytes) -> bytes | None:
        """Return the value, or None if there is no such header."""
        return self.headers.get(name)

    @property
    def query(self) -> str:
        """The query, with its question mark if it is not empty."""
        query = self.target.partition("#")[0].partition("?")[2]
        return f"?{query}" if query else ""


class HeadReader:
    """Reads one head from a buffer as bytes arrive; ``head`` holds the part read so far."""

    def __init__(self) -> None:
        self.head = Head()
        self.raw = bytearray()
        """The bytes of the head read so far."""
        self.begun = False
        self._room = _FIRST_BUFFER
        self._large = 0

    def read(self, buffer: bytearray) -> bool:
        """Take the bytes of the head from ``buffer``; return whether it is complete. Raises BadRequestError."""
        while True:
            if not self.begun and not self._skip_blank_lines(buffer):
                return False
            end = buffer.find(b"\n") + 1
            self._make_room(end or len(buffer), complete=bool(end))
            line = bytes(buffer[:end] if end else buffer)
            if not self.head.method:
                self._check_request_line(line)
            elif not _is_blank(line):
                _check_header(line)
            if not end:
                return False
            self._room -= end
            self.raw += line
            del buffer[:end]
            if self._take(line):
                return True

    def _skip_blank_lines(self, buffer: bytearray) -> bool:
        rest = buffer.lstrip(b"\r\n")
        del buffer[: len(buffer) - len(rest)]
        self.begun = bool(buffer)
        return self.begun

    def _make_room(self, size: int, *, complete: bool) -> None:
        """Count a line as nginx does, which puts it into the first buffer with room for all of it."""
        needed = size if complete else size + 1
        if needed <= self._room:
            return
        if needed > _LARGE_BUFFER or self._large == _LARGE_BUFFERS:
            raise BadRequestError(494 if self.head.method else 414)
        self._large += 1
        self._room = _LARGE_BUFFER

    def _check_request_line(self, line: bytes) -> None:
        text = line.decode("latin-1")
        if _OTHER_VERSION.match(text):
            raise BadRequestError(505)
        if not (_LINE_BEGINNING.match(text) or _LINE_BEGINNING.match(text.removesuffix("\n") + "\r\n")):
            raise BadRequestError(400)

    def _take(self, line: bytes) -> bool:
        if not self.head.method:
            self._take_request_line(line.decode("latin-1").rstrip("\r\n"))
            return self.head.version < 10  # noqa: PLR2004 - HTTP/0.9 has no headers
        if _is_blank(line):
            return True
        self._take_header(line.rstrip(b"\r\n"))
        return False

    def _take_request_line(self, line: str) -> None:
        match = _LINE.match(line)
        if match is None:
            raise BadRequestError(400)
        self.head.method = match["method"]
        self.head.version = 9 if match["minor"] is None else 10 if int(match["minor"]) == 0 else 11
        self.head.target = match["target"]
        if match["host"] is not None:
            self.head.host = _read_host(match["host"].encode("latin-1"))
        self.head.path = decode_path(match["target"])
        if self.head.version < 10 and self.head.method != "GET":  # noqa: PLR2004 - see above
            raise BadRequestError(400)

    def _take_header(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        if not _GOOD_NAME.fullmatch(name):
            return
        name, value = name.lower(), value.strip(b" ")
        if name not in _KEPT:
            return
        headers = self.head.headers
        if name in _UNIQUE and name in headers:
            raise BadRequestError(400)
        if name == b"host":
            host = _read_host(value)
            self.head.host = self.head.host or host
        headers[name] = value


def _is_blank(line: bytes) -> bool:
    return line in {b"", b"\r", b"\r\n", b"\n"}


def _check_header(line: bytes) -> None:
    bare = line.removesuffix(b"\n").rstrip(b"\r")
    if _BAD_NAME.match(bare.partition(b":")[0] + (b":" if bare.startswith(b":") else b"")) or _BAD_VALUE.search(bare):
        raise BadRequestError(400)


def _read_host(value: bytes) -> str:
    """Return a Host without its port. Raises BadRequestError."""
    match = _HOST_ADDRESS.fullmatch(value)
    if match is None or b".." in value or re.search(rb"[\x00-\x20\x7f/]", value):
        raise BadRequestError(400)
    host = match[1].removesuffix(b".").lower().decode("latin-1")
    if not host:
        raise BadRequestError(400)
    return host


def decode_path(target: str) -> str:
    """Return the path that a target names. Raises BadRequestError for one that has none."""
    raw = re.split(r"[?#]", target, maxsplit=1)[0] or "/"
    if re.search(r"%(?![0-9A-Fa-f]{2})|%00", raw):
        raise BadRequestError(400)
    decoded = re.sub(r"%([0-9A-Fa-f]{2})", lambda match: chr(int(match[1], 16)), raw)
    parts: list[str] = []
    *folders, last = decoded.split("/")[1:]
    for part in (*folders, last):
        if part == "..":
            if not parts:
                raise BadRequestError(400)
            parts.pop()
        elif part not in {"", "."}:
            parts.append(part)
    folder = last in {"", ".", ".."}
    return "/" + "/".join(parts) + ("/" if folder and parts else "")

"""Conditional requests and ranges of a file, with nginx's defaults."""

import contextlib
import email.utils
import itertools
import re
from dataclasses import dataclass
from typing import Final, TypeAlias

from backhaul.errors import BackhaulError

from .head import Head
from .nginx import Answer, FileRange, http_date, page

_RANGE: Final = re.compile(rb" *(?:(?P<first>[0-9]+) *- *(?P<last>[0-9]+)?|-(?P<suffix>[0-9]+)) *")
_MAX_DIGITS: Final = 18
_MIN_RANGE: Final = len("bytes=x")
_boundaries: Final = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Resource:
    """A file, as visitors see it."""

    kind: str
    size: int
    modified: int
    """Seconds since the epoch."""

    @property
    def etag(self) -> str:
        """The entity tag."""
        return f'"{self.modified:x}-{self.size:x}"'


Fields: TypeAlias = list[tuple[str, str]]


class _UnsatisfiableError(BackhaulError):
    """No requested range has a byte of the file."""


def answer_with(resource: Resource, head: Head) -> Answer:
    """Return the answer of ``resource`` to a request."""
    if _fails(resource, head):
        answer = page(412, head)
        answer.closing, answer.says_closing = True, False  # as nginx does
        return answer
    validators = [("Last-Modified", http_date(resource.modified))]
    tag = [("ETag", resource.etag)]
    if _is_known(resource, head):
        return Answer(status=304, fields=validators, extra=tag)
    try:
        ranges = _ranges(resource, head)
    except _UnsatisfiableError:
        answer = page(416, head)
        answer.extra.append(("Content-Range", f"bytes */{resource.size}"))
        return answer
    return _success(resource, ranges, validators, tag)


def _success(resource: Resource, ranges: list[FileRange], validators: Fields, tag: Fields) -> Answer:
    """Return the answer with these ranges, or with the whole file if there are none."""
    if len(ranges) > 1:
        return _multipart(resource, ranges, Answer(status=206, fields=validators, extra=tag))
    if ranges:
        status, extra = 206, ("Content-Range", _content_range(ranges[0], resource.size))
    else:
        status, extra = 200, ("Accept-Ranges", "bytes")
    body = ranges or [FileRange(0, resource.size)]
    return Answer(status=status, kind=resource.kind, body=[*body], fields=validators, extra=[*tag, extra])


def _multipart(resource: Resource, ranges: list[FileRange], answer: Answer) -> Answer:
    boundary = f"{next(_boundaries):020}"
    answer.kind = f"multipart/byteranges; boundary={boundary}"
    for part in ranges:
        answer.body.append(
            f"\r\n--{boundary}\r\nContent-Type: {resource.kind}\r\n"
            f"Content-Range: {_content_range(part, resource.size)}\r\n\r\n".encode()
        )
        answer.body.append(part)
    answer.body.append(f"\r\n--{boundary}--\r\n".encode())
    return answer


def _content_range(part: FileRange, size: int) -> str:
    return f"bytes {part.start}-{part.start + part.size - 1}/{size}"


def _fails(resource: Resource, head: Head) -> bool:
    unmodified_since, match = head.header(b"if-unmodified-since"), head.header(b"if-match")
    if unmodified_since is not None:
        limit = _parse_date(unmodified_since)
        if limit is None or resource.modified > limit:
            return True
    return match is not None and not _matches(match, resource.etag, weak=False)


def _is_known(resource: Resource, head: Head) -> bool:
    """Return whether the visitor has this version already; its date counts only if it is the same."""
    modified_since, none_match = head.header(b"if-modified-since"), head.header(b"if-none-match")
    if modified_since is None and none_match is None:
        return False
    if modified_since is not None and _parse_date(modified_since) != resource.modified:
        return False
    return none_match is None or _matches(none_match, resource.etag, weak=True)


def _matches(value: bytes, etag: str, *, weak: bool) -> bool:
    tags = [tag.strip() for tag in value.split(b",")]
    if tags == [b"*"]:
        return True
    return etag.encode() in ([tag.removeprefix(b"W/") for tag in tags] if weak else tags)


def _parse_date(value: bytes) -> int | None:
    with contextlib.suppress(ValueError, OverflowError):
        return int(email.utils.parsedate_to_datetime(value.decode("latin-1")).timestamp())
    return None


def _ranges(resource: Resource, head: Head) -> list[FileRange]:
    """Return the requested parts, none for the whole. Raises _UnsatisfiableError."""
    value = head.header(b"range") or b""
    if len(value) < _MIN_RANGE or not value.lower().startswith(b"bytes=") or not _same_version(resource, head):
        return []
    ranges = []
    for part in value[len(b"bytes=") :].split(b","):
        match = _RANGE.fullmatch(part)
        if match is None:
            raise _UnsatisfiableError
        start, end = _limits(match, resource.size)
        if start < end:
            ranges.append(FileRange(start, end - start))
        elif start == 0:
            return []
    if not ranges:
        raise _UnsatisfiableError
    return ranges if sum(part.size for part in ranges) <= resource.size else []


def _limits(match: re.Match[bytes], size: int) -> tuple[int, int]:
    first, last, suffix = match["first"], match["last"], match["suffix"]
    if any(number and len(number) > _MAX_DIGITS for number in (first, last, suffix)):
        raise _UnsatisfiableError
    if suffix is not None:
        return max(0, size - int(suffix)), size
    return int(first), size if last is None else min(size, int(last) + 1)


def _same_version(resource: Resource, head: Head) -> bool:
    value = head.header(b"if-range")
    if value is None:
        return True
    if value.endswith(b'"'):
        return value == resource.etag.encode()
    return _parse_date(value) == resource.modified

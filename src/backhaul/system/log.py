"""Log lines as Backhaul v0.7.2 writes them, or one JSON object a line.

The whole program logs to ``logging.getLogger("backhaul")`` or a child of it. Lines go to standard output, like those
of v0.7.2, and to standard error once standard output is closed or its reader has exited.
"""

import atexit
import errno
import functools
import json
import logging
import os
import re
import sys
import time
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Final, Protocol, TextIO

from .journal import with_priority
from .log_output import LogOutput

TRACE: Final = 5
"""Level number for ``logger.log(TRACE, …)``: below debug, for single frames and signals."""

TUNNEL: Final[ContextVar[str]] = ContextVar("tunnel", default="")
"""The name of the end that runs this code, if there are several in the process; its tasks and callbacks inherit it."""

_LEVELS: Final = {
    "panic": 60,
    "fatal": logging.CRITICAL,
    "error": logging.ERROR,
    "warn": logging.WARNING,
    "warning": logging.WARNING,  # v0.7.2 accepts both spellings and prints the long one
    "info": logging.INFO,
    "debug": logging.DEBUG,
    "trace": TRACE,
}
_NAMES: Final = {number: name for name, number in _LEVELS.items()}

# ANSI colours of the levels in v0.7.2.
_COLOURS: Final = {
    "panic": "1;31",
    "fatal": "1;31",
    "error": "31",
    "warning": "33",
    "info": "32",
    "debug": "34",
    "trace": "36",
}

# asyncio reports unawaited exceptions to its own logger; these lines get the same format.
_LOGGERS: Final = ("backhaul", "asyncio")

# Characters that end a line, move a terminal's cursor, reverse the reading direction, or cannot be encoded:
# C0, DEL and C1, line and paragraph separator, bidirectional controls, lone surrogates.
_UNPRINTABLE: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


class Stream(Protocol):
    """A place for lines."""

    def write(self, text: str, /) -> object:
        """Write a line; raise OSError."""

    def isatty(self) -> bool:
        """Return whether it is a terminal."""


def configure(level: str, log_format: str, stream: Stream | None = None) -> None:
    """Send the program's log to ``stream`` (default: standard output); may be called again, at each reload.

    ``level`` is one of v0.7.2's names in any case, ``log_format`` is "text" or "json". Raises ``ValueError`` for other
    values and leaves the log as it was. The stream is never closed.
    """
    threshold = _LEVELS.get(level.lower())
    if threshold is None:
        raise ValueError(f'log_level: "{escape(level)}" is not one of {", ".join(_LEVELS)}')
    handler = _Handler(_standard_output() if stream is None else stream)
    handler.setFormatter(_formatter(log_format, coloured=_wants_colour(handler.stream)))
    for name in _LOGGERS:
        _attach(logging.getLogger(name), handler, threshold)


def escape(text: str) -> str:
    r"""Return ``text`` on one line: control characters become ``\n`` or ``\x1b``, the rest stays."""
    return _UNPRINTABLE.sub(lambda match: ascii(match[0])[1:-1], text)


def _wants_colour(stream: Stream | None) -> bool:
    # A standard stream is None in a program started with its descriptor closed.
    terminal = stream is not None and stream.isatty()
    return terminal and not os.environ.get("NO_COLOR")  # https://no-color.org


def _attach(logger: logging.Logger, handler: logging.Handler, threshold: int) -> None:
    for old in [known for known in logger.handlers if isinstance(known, _Handler)]:
        logger.removeHandler(old)
    logger.addHandler(handler)
    logger.setLevel(threshold)


def _standard_output() -> Stream | None:
    """Return standard output, or standard error if it is closed or has no descriptor."""
    return _standard(sys.stdout) or _standard_error()


def _standard_error() -> Stream | None:
    return _standard(sys.stderr) or sys.stderr


def _standard(stream: TextIO | None) -> Stream | None:
    if stream is None:
        return None
    try:
        return _output(stream.fileno(), stream.encoding)
    except (OSError, ValueError):  # replaced by an object without a descriptor, or its descriptor is closed
        return None


@functools.cache
def _output(descriptor: int, encoding: str) -> LogOutput:
    """Return the only output to a descriptor: a reload must not overtake lines that wait."""
    output = LogOutput(descriptor, encoding)
    atexit.register(output.finish)
    return output


class _Handler(logging.StreamHandler[Stream]):
    """A stream handler that drops a line rather than disturb the tunnel."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line, and how many were lost before it."""
        super().emit(record)
        if isinstance(self.stream, LogOutput) and (lost := self.stream.take_lost()):
            logging.getLogger("backhaul").warning("log: %d lines were lost, because they were not read in time", lost)

    def format(self, record: logging.LogRecord) -> str:
        """Return the text of a line, for the journal with its priority."""
        text = super().format(record)
        for_journal = isinstance(self.stream, LogOutput) and self.stream.for_journal
        return with_priority(text, record.levelno) if for_journal else text

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the name logging calls
        """Switch to standard error if the reader has exited; drop the line otherwise, as on a full disk."""
        gone = isinstance(error := sys.exception(), OSError) and error.errno in (errno.EPIPE, errno.EBADF)
        if gone and (another := _standard_error()) and self.stream is not another:
            self.setStream(another)
            self.emit(record)


def _formatter(log_format: str, *, coloured: bool) -> logging.Formatter:
    if log_format == "text":
        return _TextFormatter(coloured=coloured)
    if log_format == "json":
        return _JsonFormatter()
    raise ValueError(f'log_format: "{escape(log_format)}" is neither "text" nor "json"')


class _TextFormatter(logging.Formatter):
    """``22-Nov 12:41:07 [INFO] message``, in local time."""

    def __init__(self, *, coloured: bool) -> None:
        super().__init__()
        self._tags = {number: _tag(name, coloured=coloured) for number, name in _NAMES.items()}

    def format(self, record: logging.LogRecord) -> str:
        stamp = time.strftime("%d-%b %H:%M:%S", time.localtime(record.created))
        tag = self._tags.get(record.levelno, record.levelname)
        name = TUNNEL.get()
        line = f"{stamp} [{tag}] {escape(f'{name}: ' if name else '')}{escape(record.getMessage())}"
        # Indented, so that no line of a traceback can be mistaken for a log line.
        return "\n    ".join([line, *map(escape, self._traceback(record))])

    def _traceback(self, record: logging.LogRecord) -> list[str]:
        return self.formatException(record.exc_info).split("\n") if record.exc_info else []


def _tag(name: str, *, coloured: bool) -> str:
    return f"\x1b[{_COLOURS[name]}m{name.upper()}\x1b[0m" if coloured else name.upper()


class _JsonFormatter(logging.Formatter):
    """``{"time": RFC 3339 in UTC, "level": v0.7.2's name, "message": …}``, ASCII only."""

    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, UTC)
        fields = {
            "time": moment.isoformat(timespec="milliseconds"),
            "level": _NAMES.get(record.levelno, record.levelname),
            "message": record.getMessage(),
        }
        if name := TUNNEL.get():
            fields["tunnel"] = name
        if record.exc_info:
            fields["traceback"] = self.formatException(record.exc_info)
        return json.dumps(fields)

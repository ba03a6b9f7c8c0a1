"""A screen that is redrawn every second, like that of top(1)."""

import contextlib
import os
import select
import shutil
import sys
import termios
import tty
from collections.abc import Callable, Iterable, Iterator
from typing import Final

_INTERVAL: Final = 1.0  # seconds
_OPEN: Final = "\x1b[?1049h\x1b[?25l"  # the other screen, without a cursor
_CLOSE: Final = "\x1b[?25h\x1b[?1049l"


def repeat(draw: Callable[[], Iterable[str]]) -> None:
    """Show the lines of ``draw`` until q or Ctrl-C; those that do not fit are cut off."""
    with _screen(), contextlib.suppress(KeyboardInterrupt):
        while True:
            columns, lines = shutil.get_terminal_size()
            shown = [line[:columns] for line in draw()][: lines - 1]
            sys.stdout.write("\x1b[H" + "".join(f"{line}\x1b[K\r\n" for line in shown) + "\x1b[J")
            sys.stdout.flush()
            if b"q" in _pressed():
                return


@contextlib.contextmanager
def _screen() -> Iterator[None]:
    keys = sys.stdin.isatty()
    before = termios.tcgetattr(sys.stdin) if keys else []
    if keys:
        tty.setcbreak(sys.stdin)
    sys.stdout.write(_OPEN)
    try:
        yield
    finally:
        sys.stdout.write(_CLOSE)
        sys.stdout.flush()
        if keys:
            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def _pressed() -> bytes:
    """Return the keys that are pressed within a second; empty without one, or without a keyboard."""
    waiting = [sys.stdin] if sys.stdin.isatty() else []
    ready, _, _ = select.select(waiting, [], [], _INTERVAL)
    return os.read(sys.stdin.fileno(), 64) if ready else b""

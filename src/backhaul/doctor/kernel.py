"""The check of kernel settings that matter for many users and long lines."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from .finding import Finding, ok, skipped, warning

SUBJECT: Final = "kernel"
_QUEUE: Final = 1024  # connections that wait to be accepted: fewer are lost in a burst of users
_BUFFER: Final = 4 << 20  # bytes: the kernel's own ceiling for tcp_wmem, 400 Mbit/s over 80 ms
_REMEDY: Final = "set {}; `skip_optz = false` does so at a start as root"


def examine(proc: Path) -> Iterator[Finding]:
    """Yield findings about the settings below ``proc``."""
    net = proc / "sys/net"
    queue, buffer = _numbers(net / "core/somaxconn"), _numbers(net / "ipv4/tcp_wmem")
    control = _word(net / "ipv4/tcp_congestion_control")
    if not queue or not buffer:
        yield skipped(SUBJECT, "the settings can't be read here")
        return
    low = ["net.core.somaxconn = 4096"] if queue[0] < _QUEUE else []
    low += ["net.ipv4.tcp_wmem = 4096 16384 16777216"] if buffer[-1] < _BUFFER else []
    text = f"somaxconn {queue[0]}, send buffers up to {buffer[-1] >> 20} MiB, congestion control {control}"
    yield warning(SUBJECT, text, _REMEDY.format(" and ".join(low))) if low else ok(SUBJECT, text)


def _numbers(path: Path) -> list[int]:
    return [int(word) for word in _word(path).split() if word.isdigit()]


def _word(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""

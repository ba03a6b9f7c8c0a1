"""Kernel settings for many connections and long fast lines (``skip_optz = false``).

These are the settings of v0.7.2, but no value chosen by an administrator is lowered. Two of them are left out because
they only lower values (tcp_fin_timeout = 15, tcp_notsent_lowat = 32768). Four are additions: a ceiling of tcp_rmem and
tcp_wmem that fills a long line, fs.file-max, probing for the MTU, and BBR. All settings last until the next boot.
"""

import logging
from collections.abc import Callable
from operator import or_
from pathlib import Path
from typing import Final

PROC: Final = Path("/proc/sys")

_logger: Final = logging.getLogger(__name__)


def _exactly(_current: int, wanted: int) -> int:
    return wanted


# 1 Gbit/s over 128 ms has 16 MB in flight; the kernel's default ceilings of 4 and 6 MiB slow such a line down.
_CEILING: Final = 16 * 2**20
# The largest buffer a socket may ask for with so_rcvbuf and so_sndbuf; v0.7.2's value.
_BUFFER_MAX: Final = 64 * 2**20

# For each field of a setting: a function of the current and the wanted value that returns the new one, and the wanted.
_Field = tuple[Callable[[int, int], int], int]
_SETTINGS: Final[dict[str, list[_Field]]] = {
    "net/ipv4/ip_local_port_range": [(min, 1024), (max, 65535)],
    # 2, the kernel's default, reuses TIME_WAIT sockets on the loopback only; 1 does so everywhere.
    "net/ipv4/tcp_tw_reuse": [(_exactly, 1)],
    "net/core/somaxconn": [(max, 4096)],
    "net/ipv4/tcp_max_syn_backlog": [(max, 8192)],
    "net/ipv4/tcp_window_scaling": [(max, 1)],
    "net/ipv4/tcp_fastopen": [(or_, 0b11)],  # one bit for connecting, one for listening
    # 1: if packets of full size are lost without an ICMP message, as with firewalls that drop ICMP, try smaller ones.
    "net/ipv4/tcp_mtu_probing": [(max, 1)],
    "net/ipv4/tcp_rmem": [(max, 16384), (max, 262144), (max, _CEILING)],
    "net/ipv4/tcp_wmem": [(max, 16384), (max, 262144), (max, _CEILING)],
    "net/core/rmem_default": [(max, 262144)],
    "net/core/wmem_default": [(max, 262144)],
    "net/core/rmem_max": [(max, _BUFFER_MAX)],
    "net/core/wmem_max": [(max, _BUFFER_MAX)],
    "fs/file-max": [(max, 2_097_152)],  # two processes at limits.TUNED_LIMIT
}

_CONGESTION: Final = "net/ipv4/tcp_congestion_control"


def tune(proc: Path = PROC) -> list[str]:
    """Apply the settings below ``proc`` and return the changed ones, as sysctl spells them.

    Logs one info line, and a debug line for each setting that is missing or not writable (containers, no privileges).
    Raises no exception.
    """
    outcomes = {name: _apply(proc / name, fields) for name, fields in _SETTINGS.items()}
    outcomes[_CONGESTION] = _choose_bbr(proc / "net/ipv4")
    changed = [name.replace("/", ".") for name, outcome in outcomes.items() if outcome]
    refused = sum(outcome is None for outcome in outcomes.values())
    fine = len(outcomes) - len(changed) - refused
    summary = "kernel tuning: %d changed, %d already fine, %d not possible here"
    _logger.info(summary, len(changed), fine, refused)
    return changed


def names() -> list[str]:
    """Return all settings that ``tune`` may change, as sysctl spells them."""
    return [name.replace("/", ".") for name in (*_SETTINGS, _CONGESTION)]


def _apply(path: Path, fields: list[_Field]) -> bool | None:
    """Return whether the file was changed, or None if it could not be."""
    try:
        current = [int(word) for word in path.read_text().split()]
        wanted = [choose(have, ours) for have, (choose, ours) in zip(current, fields, strict=True)]
        return current != wanted and _write(path, " ".join(map(str, wanted)))
    except (OSError, ValueError) as error:
        _logger.debug("kernel tuning: %s: %s", path, error)
        return None


def _choose_bbr(ipv4: Path) -> bool | None:
    """Choose BBR in place of a loss-based default, which is slow on lossy lines; any other choice stays."""
    path = ipv4 / "tcp_congestion_control"
    try:
        available = (ipv4 / "tcp_available_congestion_control").read_text().split()
        replaceable = path.read_text().strip() in ("cubic", "reno")
        return "bbr" in available and replaceable and _write(path, "bbr")
    except OSError as error:
        _logger.debug("kernel tuning: %s: %s", path, error)
        return None


def _write(path: Path, value: str) -> bool:
    path.write_text(value)
    _logger.debug("kernel tuning: %s = %s", path, value)
    return True

"""Versions of the program and of what it stands on, and settings of the machine."""

import os
import platform
import ssl
import sys
import time
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from backhaul import __version__
from backhaul.system.program import PACKED
from backhaul.system.tuning import names

LIBRARIES: Final = (
    *("cryptography", "h11", "httptools", "msgspec", "prometheus-client", "psutil", "uvloop", "websockets"),
    *("python-socks", "dnspython"),
)
"""The libraries that the program uses, the optional ones last."""
_OTHER_SETTINGS: Final = (
    *("net.ipv4.tcp_available_congestion_control", "net.core.default_qdisc", "net.core.netdev_max_backlog"),
    *("net.ipv4.tcp_retries2", "net.ipv4.tcp_syn_retries", "net.ipv4.tcp_timestamps", "net.ipv4.tcp_sack"),
    *("net.ipv4.tcp_keepalive_time", "net.ipv4.ip_unprivileged_port_start", "net.ipv6.conf.all.disable_ipv6"),
    *("net.netfilter.nf_conntrack_count", "net.netfilter.nf_conntrack_max", "fs.file-nr", "fs.nr_open"),
)
_MEMORY: Final = ("MemTotal", "MemAvailable", "SwapTotal", "SwapFree")
_MOST_INTERFACES: Final = 50


def describe(root: Path = Path("/")) -> str:
    """Return a line for each fact; ``root`` is the directory of /proc and the others."""
    sections = (_program(), _system(root), _settings(root / "proc/sys"), _interfaces(root / "sys/class/net"))
    return "\n".join("".join(f"{name}: {value}\n" for name, value in section) for section in sections)


def _program() -> Iterator[tuple[str, str]]:
    yield "backhaul", f"{__version__}{', with Python inside' if PACKED else ''}"
    yield "Python", f"{platform.python_implementation()} {sys.version}".replace("\n", " ")
    yield "interpreter", sys.executable
    yield "OpenSSL", ssl.OPENSSL_VERSION
    yield "OpenSSL of cryptography", _crypto()
    yield from ((library, _version(library)) for library in LIBRARIES)


def _system(root: Path) -> Iterator[tuple[str, str]]:
    yield "system", _os_name()
    yield "kernel", f"{platform.system()} {platform.release()} {platform.machine()}, {platform.version()}"
    yield "C library", " ".join(platform.libc_ver()).strip() or "unknown"
    yield "virtualisation", _container(root)
    yield "processors", f"{os.cpu_count()}, of which {len(os.sched_getaffinity(0))} are allowed"
    yield "load", _read(root / "proc/loadavg")
    yield "seconds since boot", _read(root / "proc/uptime").partition(" ")[0]
    memory = (line.partition(":")[::2] for line in _read(root / "proc/meminfo").splitlines())
    yield from ((name, value.strip()) for name, value in memory if name in _MEMORY)
    yield "user of this command", str(os.geteuid())
    yield "time", time.strftime("%Y-%m-%d %H:%M:%S %z (%Z)")


def _settings(proc: Path) -> Iterator[tuple[str, str]]:
    """Yield the settings of the kernel that the program may change, and others that matter to it."""
    for name in (*names(), *_OTHER_SETTINGS):
        yield name, " ".join(_read(proc / name.replace(".", "/")).split()) or "not here"


def _interfaces(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield the network interfaces with their MTU, and no address."""
    found = sorted(folder.iterdir())[:_MOST_INTERFACES] if folder.is_dir() else []
    for interface in found:
        yield f"interface {interface.name}", f"MTU {_read(interface / 'mtu')}, {_read(interface / 'operstate')}"


def _version(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:
        return "not installed"


def _crypto() -> str:
    from cryptography.hazmat.backends.openssl import backend  # noqa: PLC0415 - takes 10 MB

    return backend.openssl_version_text()


def _os_name() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "unknown")
    except OSError:
        return "unknown"


def _container(root: Path) -> str:
    """Return the kind of a container as far as files show it."""
    if kind := _read(root / "run/systemd/container"):
        return kind
    marks = {"docker": root / ".dockerenv", "podman": root / "run/.containerenv"}
    return next((kind for kind, mark in marks.items() if mark.exists()), "no container is apparent")


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""

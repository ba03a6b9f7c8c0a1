"""Debian's package of the program: ``python -m release.debian PACKED OUT``.

PACKED is the directory with the program and its Python, OUT the directory for the package.
"""

import gzip
import os
import re
import sys
from pathlib import Path
from typing import Final

from backhaul import __version__
from backhaul.cli.arguments import parser
from backhaul.cli.completion import completion
from backhaul.system.unit import MARK, Unit

from .deb import Entry, package, tree
from .machines import machine

ROOT: Final = Path(__file__).parents[1]
SETTINGS: Final = {
    f"etc/backhaul/{end}.toml.example": ROOT / f"examples/tcp/{end}.toml" for end in ("server", "client")
}
"""The examples in /etc/backhaul, by their place."""

UNIT: Final = "usr/lib/systemd/system/backhaul@.service"
_UNIT_MARK: Final = (
    "# Runs /etc/backhaul/NAME.toml as backhaul@NAME; own settings go into `systemctl edit backhaul@NAME`."
)
_STOP_TIMEOUT: Final = 330  # seconds: the template does not know shutdown_timeout, so five minutes and a reserve

_COMPLETIONS: Final = {
    "bash": "usr/share/bash-completion/completions/backhaul",
    "zsh": "usr/share/zsh/vendor-completions/_backhaul",
    "fish": "usr/share/fish/vendor_completions.d/backhaul.fish",
}

_CONTROL: Final = """\
Package: backhaul
Version: {version}
Architecture: {architecture}
Maintainer: Backhaul for Python maintainers <maintainers@backhaul.invalid>
Section: net
Priority: optional
Depends: libc6 (>= {libc}), passwd
Recommends: ca-certificates, systemd
Description: reverse tunnel for TCP and UDP through NAT and firewalls
 Backhaul publishes a service that is not reachable from outside. The client
 runs beside the service and dials out; the server listens for users on a
 public address and passes their connections back through the tunnel.
 .
 The package brings a Python of its own.
"""

_SCRIPTS: Final = {
    "postinst": """\
#!/bin/sh
set -e
if [ "$1" = configure ]; then
    if ! getent passwd backhaul >/dev/null; then
        useradd --system --user-group --no-create-home --home-dir /var/lib/backhaul --shell /usr/sbin/nologin backhaul
    fi
    # The files there hold tokens.
    chown root:backhaul /etc/backhaul
    chmod 750 /etc/backhaul
    if [ -d /run/systemd/system ]; then
        systemctl daemon-reload
        # At an upgrade the new program takes over the listening sockets.
        # A service that does not start, such as with a mistake in its file, is no reason to fail the whole upgrade.
        [ -z "$2" ] || systemctl try-restart 'backhaul@*.service' ||
            echo "backhaul: not all services have started again; see systemctl status 'backhaul@*'" >&2
    fi
fi
""",
    "prerm": """\
#!/bin/sh
set -e
if [ "$1" = remove ] && [ -d /run/systemd/system ]; then
    systemctl stop 'backhaul@*.service'
fi
""",
    "postrm": """\
#!/bin/sh
set -e
if [ "$1" = purge ]; then
    rm -rf /var/lib/backhaul@* /etc/systemd/system/*.wants/backhaul@*.service
fi
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload
fi
""",
}


def unit() -> str:
    """Return the unit template; it lacks the settings of a service's unit that depend on the configuration."""
    template = Unit(
        name="backhaul@%i",
        about="Backhaul, %i",
        command=("/usr/bin/backhaul", "-c", "/etc/backhaul/%i.toml"),
        forks=False,
        user="backhaul",
        low_ports=True,
        tuning=True,
        marks=True,
        interface=False,
        homes=False,
        writable=(),
        stop_timeout=_STOP_TIMEOUT,
    )
    text = template.text().replace(MARK, _UNIT_MARK).replace('"/etc/backhaul/%%i.toml"', "/etc/backhaul/%i.toml")
    return text.replace("Wants=", "Documentation=man:backhaul(1)\nWants=", 1)


def libc_needed(packed: Path) -> str:
    """Return the oldest glibc that has all symbols of the packed libraries."""
    libraries = [
        content for path in packed.rglob("*") if path.is_file() and (content := path.read_bytes())[:4] == b"\x7fELF"
    ]
    versions = {found for content in libraries for found in re.findall(rb"GLIBC_(\d+)\.(\d+)", content)}
    return "{}.{}".format(*max((int(major), int(minor)) for major, minor in versions))


def entries(packed: Path) -> list[Entry]:
    """Return the files of the package."""
    text = {
        UNIT: unit(),
        **{place: completion(shell, parser()) for shell, place in _COMPLETIONS.items()},
        **{place: source.read_text() for place, source in SETTINGS.items()},
        "usr/share/doc/backhaul/copyright": (ROOT / "LICENSE").read_text(),
    }
    pages = {
        "docs/backhaul.1": "man/man1/backhaul.1",
        "CHANGELOG.md": "doc/backhaul/changelog",
        "docs/configuration.md": "doc/backhaul/configuration.md",
    }
    return [
        *tree(packed, "usr/lib/backhaul"),
        Entry("usr/bin/backhaul", link="../lib/backhaul/backhaul"),
        *(Entry(place, content.encode()) for place, content in text.items()),
        *(
            Entry(f"usr/share/{place}.gz", gzip.compress((ROOT / page).read_bytes(), mtime=0))
            for page, place in pages.items()
        ),
        *tree(ROOT / "examples", "usr/share/doc/backhaul/examples"),
    ]


def build(packed: Path, when: int) -> bytes:
    """Return the package of the program in the directory ``packed``."""
    control = _CONTROL.format(version=__version__, architecture=machine().debian, libc=libc_needed(packed))
    return package(control, _SCRIPTS, SETTINGS, entries(packed), when)


def main(packed: Path, out: Path) -> None:
    """Write the package."""
    made = out / f"backhaul_{__version__}_{machine().debian}.deb"
    made.write_bytes(build(packed, int(os.environ.get("SOURCE_DATE_EPOCH", "0"))))
    print(f"{made}: {made.stat().st_size >> 20} MB, for glibc {libc_needed(packed)} and newer")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))

"""The first module of the packed program: it undoes the changes of its start to the environment."""

import os
from typing import Final

# OpenSSL looks for authorities where the machine that built it had them.
_AUTHORITIES: Final = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Arch, Alpine, Gentoo
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora and Red Hat before 10
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",  # Red Hat from 10 on
    "/etc/ssl/ca-bundle.pem",  # openSUSE
)


def _restore_library_path() -> None:
    """Let programs of the system find their own libraries, not those packed here."""
    original = os.environ.pop("LD_LIBRARY_PATH_ORIG", None)
    if original is None:
        os.environ.pop("LD_LIBRARY_PATH", None)
    else:
        os.environ["LD_LIBRARY_PATH"] = original


def _part_from_children() -> None:
    """Let this program, started again by itself, unpack its own files, because those here vanish with this process."""
    os.environ["PYINSTALLER_RESET_ENVIRONMENT"] = "1"


def _accept_from_manager() -> None:
    """Accept the settings that the service manager meant for the parent: sd_listen_fds(3), sd_watchdog_enabled(3)."""
    for name in ("LISTEN_PID", "WATCHDOG_PID"):
        if os.environ.get(name) == str(os.getppid()):
            os.environ[name] = str(os.getpid())


def _find_authorities() -> None:
    """Name the system's authorities, unless the environment does."""
    found = next(filter(os.path.exists, _AUTHORITIES), None)
    if found and not {"SSL_CERT_FILE", "SSL_CERT_DIR"} & os.environ.keys():
        os.environ["SSL_CERT_FILE"] = found


_restore_library_path()
_part_from_children()
_accept_from_manager()
_find_authorities()

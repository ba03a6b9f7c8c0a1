"""The files of a certificate that changes."""

import os
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from backhaul.net.tls import ServerTls
from backhaul.system.certificate import make

from .net import HOST


def trusted(pem: bytes) -> bytes:
    """Return the form of a certificate that OpenSSL writes with its uses."""
    command = ["openssl", "x509", "-trustout", "-addtrust", "serverAuth"]
    return subprocess.run(command, input=pem, capture_output=True, check=True).stdout


FORMS: dict[str, Callable[[bytes], bytes]] = {
    "old label": lambda pem: pem.replace(b"CERTIFICATE", b"X509 CERTIFICATE"),
    "spaces": lambda pem: pem.replace(b"-----\n", b"-----  \n"),
    "Windows": lambda pem: pem.replace(b"\n", b"\r\n"),
    "text before": lambda pem: "Zertifikat für Bücher\n".encode("latin-1") + pem,
    "chain": lambda pem: trusted(pem) + make(["another"], 2, datetime.now(UTC)).certificate,
}
"""The forms of a certificate that OpenSSL reads, made of its usual one."""


class CertificateFiles:
    """A certificate and its key in files of their own, whose time of change is newer after each change."""

    def __init__(self, folder: Path) -> None:
        self.cert, self.key = folder / "server.crt", folder / "server.key"
        self._writes = 0
        self.issue()

    @property
    def tls(self) -> ServerTls:
        """The settings of a server with these files."""
        return ServerTls(str(self.cert), str(self.key))

    def issue(self, name: str = HOST, *, since: timedelta = timedelta()) -> None:
        """Write a new certificate for ``name``, valid for two days, and note its fingerprint."""
        made = make([name], 2, datetime.now(UTC) - since)
        self.fingerprint = made.fingerprint
        self.write(made.certificate, made.key)

    def write(self, certificate: bytes, key: bytes) -> None:
        """Replace both files."""
        self.put(self.cert, certificate)
        self.put(self.key, key)

    def put(self, file: Path, data: bytes) -> None:
        """Replace one of them."""
        file.write_bytes(data)
        self._writes += 1
        os.utime(file, (self._writes, self._writes))

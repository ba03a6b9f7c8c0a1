"""Private key and self-signed certificate for wss and wssmux."""

import errno
import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Final

import psutil
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from .files import make_folder, put

CERTIFICATE: Final = "server.crt"
KEY: Final = "server.key"

_LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")
_COMMON_NAME_MAX: Final = 64  # characters: ub-common-name of RFC 5280, appendix A.1
_BACKDATED: Final = timedelta(days=1)  # the client's clock may be slow or set to the wrong time zone


@dataclass(frozen=True, slots=True)
class Pair:
    """A key and its certificate, both PEM."""

    key: bytes = field(repr=False)
    certificate: bytes
    fingerprint: str
    """SHA-256 of the certificate (DER), lower-case hexadecimal, as in ``tls_fingerprint``."""
    until: datetime


def own_names() -> list[str]:
    """Return names for this machine: its host name, its public addresses, and the loopback ones for local tests.

    Private addresses are left out: a certificate is public, and it should not reveal the network around the server.
    """
    addresses = (entry.address for entries in psutil.net_if_addrs().values() for entry in entries)
    return list(dict.fromkeys([socket.gethostname(), *filter(is_public, addresses), *_LOOPBACK]))


def is_public(name: str) -> bool:
    """Return whether ``name`` is a public IP address."""
    try:
        return ip_address(name).is_global
    except ValueError:  # a host name, a hardware address
        return False


def make(names: Sequence[str], days: int, now: datetime) -> Pair:
    """Return a new pair for ``names``, host names and IP addresses, that expires ``days`` days after ``now``.

    Raises ValueError for a host name that cannot be encoded.
    """
    # P-256: all TLS 1.2 peers support it, v0.7.2 included. The server's part of a handshake, most of the cost of a
    # new connection, takes a tenth of the time of RSA-2048.
    key = ec.generate_private_key(ec.SECP256R1())
    until = now + timedelta(days=days)
    certificate = _builder(names, key.public_key(), now - _BACKDATED, until).sign(key, hashes.SHA256())
    return Pair(
        key=key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
        certificate=certificate.public_bytes(serialization.Encoding.PEM),
        fingerprint=certificate.fingerprint(hashes.SHA256()).hex(),
        until=until,
    )


def write(pair: Pair, folder: Path, *, force: bool) -> None:
    """Write both files atomically into ``folder``, which is made if it is missing.

    Without ``force``, raises FileExistsError with the name of a file that exists. With it, owner and mode of the old
    files stay, so that a service can read the new ones. Raises OSError for other failures.
    """
    files = {folder / KEY: (pair.key, 0o600), folder / CERTIFICATE: (pair.certificate, 0o644)}
    for path in files:
        if not force and os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
    make_folder(folder)
    for path, (content, mode) in files.items():
        put(path, content, mode, force=force)


def _builder(
    names: Sequence[str], key: ec.EllipticCurvePublicKey, start: datetime, end: datetime
) -> x509.CertificateBuilder:
    alternatives = [_general_name(name) for name in names]
    # Verifiers only read the alternative names. The program's name is left out, as the certificate is public.
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, str(alternatives[0].value)[:_COMMON_NAME_MAX])])
    builder = x509.CertificateBuilder(subject, subject, key, x509.random_serial_number(), start, end)
    return (
        builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        # A client that trusts this certificate trusts this server, not other certificates signed with its key. There
        # is no key usage: OpenSSL before 3 requires keyCertSign, for authorities only, in self-signed certificates.
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _general_name(name: str) -> x509.DNSName | x509.IPAddress:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name.encode("idna").decode())  # the form that Python's ssl compares

"""An authority of certificates for tests, and the certificates that it issues."""

import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CLIENT, SERVER = ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH
DAY = timedelta(days=1)
_SIGNING = x509.KeyUsage(
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)


class Pair(NamedTuple):
    """The files of a certificate and its key."""

    cert: str
    key: str


@dataclass(frozen=True)
class Authority:
    """An authority, whose files are in a folder."""

    folder: Path
    name: str
    key: ec.EllipticCurvePrivateKey

    @classmethod
    def make(cls, folder: Path, name: str = "authority") -> "Authority":
        authority = cls(folder, name, ec.generate_private_key(ec.SECP256R1()))
        constraints = x509.BasicConstraints(ca=True, path_length=None)
        made = authority._builder(name, authority.key, DAY).add_extension(constraints, critical=True)
        made = made.add_extension(_SIGNING, critical=True)
        authority.file.write_bytes(_pem(made.sign(authority.key, hashes.SHA256())))
        return authority

    @property
    def file(self) -> Path:
        return self.folder / f"{self.name}.crt"

    def issue(self, name: str, usages: Sequence[x509.ObjectIdentifier] = (CLIENT,), until: timedelta = DAY) -> Pair:
        """Write a certificate for 127.0.0.1 and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
        builder = self._builder(name, key, until).add_extension(names, critical=False)
        builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        pair = Pair(str(self.folder / f"{name}.crt"), str(self.folder / f"{name}.key"))
        Path(pair.cert).write_bytes(_pem(builder.sign(self.key, hashes.SHA256())))
        Path(pair.key).write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return pair

    def _builder(self, name: str, key: ec.EllipticCurvePrivateKey, until: timedelta) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        public, own = key.public_key(), self.key.public_key()
        builder = x509.CertificateBuilder(
            _name(self.name), _name(name), public, x509.random_serial_number(), now - 2 * DAY, now + until
        )
        # Visitors with Python 3.13 and later want both (RFC 5280, 4.2.1.1 and 4.2.1.2).
        builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        return builder.add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(own), critical=False)


def trusting(authority: Authority, *pairs: Pair) -> ssl.SSLContext:
    """Return the context of a visitor who trusts an authority, and has these client certificates."""
    context = ssl.create_default_context(cafile=str(authority.file))
    for pair in pairs:
        context.load_cert_chain(*pair)
    return context


def _name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)

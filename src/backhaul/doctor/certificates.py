"""The dates and names of a certificate."""

import hashlib
from typing import Final, NamedTuple

from cryptography import x509

from .finding import Finding, fault, warning
from .wording import span

SOON: Final = 14 * 86400.0
"""Seconds before the end of a certificate at which a new one is due."""


class Certificate(NamedTuple):
    """A certificate, with the fields that an administrator checks."""

    names: tuple[str, ...]
    """Host names and addresses that it is valid for."""
    begins: float
    """Seconds since 1970, UTC."""
    ends: float
    fingerprint: str
    """SHA-256, lower-case hexadecimal."""


def read(data: bytes) -> Certificate:
    """Return the certificate in DER; raise ValueError for anything else."""
    found = x509.load_der_x509_certificate(data)
    return Certificate(
        names=_names(found),
        begins=found.not_valid_before_utc.timestamp(),
        ends=found.not_valid_after_utc.timestamp(),
        fingerprint=hashlib.sha256(data).hexdigest(),
    )


def _names(found: x509.Certificate) -> tuple[str, ...]:
    try:
        names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    hosts = names.get_values_for_type(x509.DNSName)
    return (*hosts, *map(str, names.get_values_for_type(x509.IPAddress)))


def dates(subject: str, certificate: Certificate, now: float, remedy: str) -> Finding | None:
    """Return a finding about a certificate that is not valid at this time, or not for long; None if it is."""
    if now > certificate.ends:
        return fault(subject, f"the certificate expired {span(now - certificate.ends)} ago", remedy)
    if now < certificate.begins:
        text = f"the certificate is not valid for another {span(certificate.begins - now)}"
        return fault(subject, text, "set this machine's clock, or make a new certificate")
    if certificate.ends - now < SOON:
        return warning(subject, f"the certificate expires in {span(certificate.ends - now)}", remedy)
    return None

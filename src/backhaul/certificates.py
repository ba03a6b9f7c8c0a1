"""Files of certificates: OpenSSL's errors in words for administrators, the first certificate, and authorities."""

import base64
import re
from typing import TYPE_CHECKING, Final

from .reading import require_file

if TYPE_CHECKING:
    import ssl

_RENEW: Final = "make a new pair, such as with `backhaul cert`"
_REASONS: Final = {
    "EE_KEY_TOO_SMALL": f"the certificate's key is smaller than OpenSSL allows (RSA 2048, EC 224 bits); {_RENEW}",
    "CA_KEY_TOO_SMALL": f"an authority's key is smaller than OpenSSL allows (RSA 2048, EC 224 bits); {_RENEW}",
    "CA_MD_TOO_WEAK": f"the certificate is signed with MD5 or SHA-1, which OpenSSL refuses; {_RENEW}",
    "KEY_VALUES_MISMATCH": "the key belongs to another certificate; name the files of one pair",
}

_PEM: Final = re.compile(rb"-----BEGIN ((?:X509 |TRUSTED )?CERTIFICATE)-----(.*?)-----END \1-----", re.DOTALL)
_LONG_FORM: Final = 0x80  # of a length in DER


def objection(error: OSError) -> str:
    """Return why a certificate and its key cannot be loaded, and the remedy; an ``ssl.SSLError`` is an OSError."""
    reason = _REASONS.get(getattr(error, "reason", None) or "")
    return reason or f"{error.strerror or error}; both must be PEM, belong together, and have no passphrase"


def first_in(pem: bytes) -> bytes:
    """Return the first certificate of a PEM file, the one that clients see, as DER; raise ValueError if there is none.

    After a trusted certificate (``openssl x509 -trustout``) there are its uses, which the result leaves out.
    """
    if not (found := _PEM.search(pem)):
        raise ValueError("no certificate in PEM")
    data = base64.b64decode(found[2])
    return data[: _size(data)]


def _size(der: bytes) -> int:
    """Return the size of the first value, which begins with its tag and its length."""
    length = int.from_bytes(der[1:2])
    if length < _LONG_FORM:
        return 2 + length
    after = 2 + length % _LONG_FORM
    return after + int.from_bytes(der[2:after])


def load_pair(context: "ssl.SSLContext", cert: str, key: str) -> None:
    """Present a certificate with its key; raise OSError, among them ``ssl.SSLError``."""
    require_file(cert)
    require_file(key)
    context.load_cert_chain(cert, key, "")  # without a password OpenSSL would ask for one


def load_certificates(context: "ssl.SSLContext", file: str) -> None:
    """Trust the certificates in a PEM file; raise OSError."""
    require_file(file)
    context.load_verify_locations(file)


def load_authorities(context: "ssl.SSLContext", file: str) -> None:
    """Trust the authorities in a PEM file, one at least; raise OSError for any other file."""
    load_certificates(context, file)
    if not context.cert_store_stats()["x509_ca"]:
        raise OSError("it contains no certificate of an authority")

"""Files of certificates: OpenSSL's errors in words for administrators, and those of authorities."""

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import ssl

_RENEW: Final = "make a new pair, such as with `backhaul cert`"
_REASONS: Final = {
    "EE_KEY_TOO_SMALL": f"the certificate's key is smaller than OpenSSL allows (RSA 2048, EC 224 bits); {_RENEW}",
    "CA_KEY_TOO_SMALL": f"an authority's key is smaller than OpenSSL allows (RSA 2048, EC 224 bits); {_RENEW}",
    "CA_MD_TOO_WEAK": f"the certificate is signed with MD5 or SHA-1, which OpenSSL refuses; {_RENEW}",
    "KEY_VALUES_MISMATCH": "the key belongs to another certificate; name the files of one pair",
}


def objection(error: OSError) -> str:
    """Return why a certificate and its key cannot be loaded, and the remedy; an ``ssl.SSLError`` is an OSError."""
    reason = _REASONS.get(getattr(error, "reason", None) or "")
    return reason or f"{error.strerror or error}; both must be PEM, belong together, and have no passphrase"


def load_authorities(context: "ssl.SSLContext", file: str) -> None:
    """Trust the authorities in a PEM file, one at least; raise OSError for any other file."""
    context.load_verify_locations(file)
    if not context.cert_store_stats()["x509_ca"]:
        raise OSError("it contains no certificate of an authority")

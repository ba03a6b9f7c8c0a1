"""The check of TLS on wss and wssmux: the server's certificate, its dates, and the client's requirements for it."""

import ssl
from typing import Final

from backhaul.config import ClientConfig
from backhaul.errors import BackhaulError
from backhaul.net.tls import NOT_TLS, explain

from .certificates import Certificate, dates, read
from .channel import Opener
from .finding import Finding, Verdict, fault, ok
from .wording import span

SUBJECT: Final = "tls"
# Codes of X509_verify_cert_error_string(3).
_EARLY: Final = 9
_EXPIRED: Final = 10
_NAMES: Final = frozenset({62, 64})
_ISSUERS: Final = frozenset({2, 18, 19, 20, 21})
DATED: Final = frozenset({_EARLY, _EXPIRED})


class Refusal(BackhaulError):  # noqa: N818 - a result that ends the check, no defect
    """The end of the check: the client can't use this server's TLS."""

    def __init__(self, finding: Finding, *, dated: bool = False) -> None:
        super().__init__(finding.text)
        self.finding: Final = finding
        self.dated: Final = dated
        """True if the reason is the time, so that a clock may be wrong."""


async def look(opener: Opener) -> Certificate:
    """Return the certificate that the server shows. Raises Refusal."""
    try:
        async with opener.open() as channel:
            return read(channel.certificate)
    except TimeoutError:
        remedy = f"is this the server's port, and does it run {opener.config.transport}?"
        raise Refusal(fault(SUBJECT, "no answer to the TLS handshake", remedy)) from None
    except OSError as error:
        raise Refusal(fault(SUBJECT, explain(error), _remedy(error, opener.config))) from None
    except ValueError as error:
        text = f"the server's certificate can't be read: {error}"
        raise Refusal(fault(SUBJECT, text, "make a new one (`backhaul cert`)")) from None


async def judge(opener: Opener, certificate: Certificate, now: float) -> Finding:
    """Return the finding about a certificate that the client accepts. Raises Refusal."""
    config = opener.config
    if config.tls_fingerprint and certificate.fingerprint != config.tls_fingerprint:
        text = f"the server's certificate has the fingerprint {certificate.fingerprint}, not tls_fingerprint"
        remedy = (
            "if the server's certificate was renewed, set tls_fingerprint to this one; otherwise an attacker listens"
        )
        raise Refusal(fault(SUBJECT, text, remedy))
    if config.tls_verify:
        await _verify(opener, certificate)
    if finding := dates(SUBJECT, certificate, now, "renew it on the server (`backhaul cert` makes one)"):
        return Finding(SUBJECT, Verdict.WARNING, finding.text, finding.remedy)  # nothing refuses it
    return ok(SUBJECT, f"{_names(certificate)}, valid for {span(certificate.ends - now)}; {_trust(config)}")


async def _verify(opener: Opener, certificate: Certificate) -> None:
    """Raise Refusal unless an authority vouches for the server."""
    try:
        async with opener.open(verify=True):
            return
    except ssl.SSLCertVerificationError as error:
        finding = fault(SUBJECT, explain(error), _remedy_of_code(error.verify_code, opener, certificate))
        raise Refusal(finding, dated=error.verify_code in DATED) from None
    except OSError as error:
        raise Refusal(fault(SUBJECT, explain(error), _remedy(error, opener.config))) from None


def _remedy(error: OSError, config: ClientConfig) -> str:
    if isinstance(error, ssl.SSLError) and error.reason in NOT_TLS:
        plain = f'set transport = "{config.facts.twin}" if it runs that, or correct the port'
        return f"the server speaks no TLS on this port: {plain}"
    return f"does the server run {config.transport} on this port, and does nothing in between end TLS?"


def _remedy_of_code(code: int, opener: Opener, certificate: Certificate) -> str:
    if code in DATED:
        return "set the clock that is wrong, or renew the server's certificate"
    if code in _NAMES:
        names = ", ".join(certificate.names) or "no name at all"
        return f"set tls_server_name to a name of the certificate: {names}"
    if code in _ISSUERS:
        known = f'set tls_fingerprint = "{certificate.fingerprint}" in place of tls_verify'
        return f"name its authority with tls_ca, or {known} if this is the server's certificate"
    return f"correct the certificate of {opener.server_name}"


def _names(certificate: Certificate) -> str:
    return f"certificate for {', '.join(certificate.names[:4]) or 'no name'}"


def _trust(config: ClientConfig) -> str:
    if config.tls_fingerprint:
        return "it matches tls_fingerprint"
    return "verified" if config.tls_verify else "not verified (tls_verify), so the token alone proves the server"

"""TLS on non-blocking sockets: contexts made from the configuration, and handshakes without a task."""

import asyncio
import contextlib
import functools
import hashlib
import logging
import os
import socket
import ssl
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from backhaul.certificates import load_authorities, load_certificates, load_pair, objection
from backhaul.errors import TransportError, reason

from .closing import release
from .poller import Poller
from .tls_socket import TlsSocket, UnixTlsSocket

log = logging.getLogger("backhaul.tls")

_Stamp = tuple[int, ...]
Shaken = Callable[[socket.socket | Exception], None]

PROTOCOLS: Final = ("http/1.1", "http/1.0", "http/0.9")
"""The ALPN protocols of the public end, as offered by nginx without HTTP/2, which has no upgrade."""

NOT_TLS: Final = frozenset({"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG"})
"""OpenSSL's reasons for an answer that is not TLS."""

_RENEW_EVERY: Final = 300.0  # seconds that a session is used; OpenSSL accepts its ticket for two hours
_TICKETS: Final = 1  # per handshake: each connection of a pool needs one to be resumed
_NO_CERTIFICATE: Final = "it demands a client certificate, and this client has none; exempt the tunnel from that"
_REMEDIES: Final = dict.fromkeys(NOT_TLS, "no TLS on this port; correct the port or the transport") | {
    "UNEXPECTED_EOF_WHILE_READING": "correct the port or the transport, unless a firewall cuts TLS",
    "TLSV1_UNRECOGNIZED_NAME": "it serves no such name; correct remote_addr or tls_server_name",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": _NO_CERTIFICATE,
}
_NOT_YET_VALID: Final = 9  # X509_V_ERR_CERT_NOT_YET_VALID of OpenSSL; a machine without a clock begins in 1970


@dataclass(frozen=True, slots=True)
class ServerTls:
    """The files of a certificate that this program presents, and its requirements for those of clients."""

    cert: str
    key: str
    client_ca: str = ""
    """Authorities whose client certificates are verified; without one, clients are asked for none."""
    keys: str = "tls"
    """The prefix of the names of the keys of these files."""
    over_unix: bool = False
    """True if the connections are Unix sockets."""
    look_every: float = 5.0
    """Seconds between checks of the files."""
    overlap: float = 60.0
    """Seconds after a renewal for which clients may still have seen the former certificate. Its key may have leaked."""


@dataclass(frozen=True, slots=True)
class ClientTls:
    """The client's requirements for the server's certificate; none by default, as in v0.7.2."""

    server_name: str
    verify: bool = False
    ca: str = ""  # "" means the system's authorities
    fingerprint: str = ""  # SHA-256, lower-case hexadecimal


class _Announcements:
    """Files whose last change was logged. Tunnel and page, or several ends of a process, may use the same files."""

    def __init__(self) -> None:
        self._stamps: dict[str, _Stamp] = {}

    def add(self, stamps: Mapping[str, _Stamp], changed: Iterable[str]) -> bool:
        """Note files that are in use now; return whether a change of one of them was not logged before."""
        news = any(stamps[file] != self._stamps.get(file) for file in changed)
        self._stamps |= stamps
        return news

    def discard(self, files: Iterable[str]) -> None:
        """Forget unusable files, so that their next change is logged."""
        for file in files:
            self._stamps.pop(file, None)


_ANNOUNCED: Final = _Announcements()


class ServerContext:
    """The TLS context of an end that listens; loads changed certificate files without a restart."""

    def __init__(self, tls: ServerTls) -> None:
        """Load the files; raise TransportError if they are unusable."""
        self._tls = tls
        self._latest = self._before = b""
        self._renewed = 0.0  # time.monotonic()
        self._complaint = ""
        self._stamps = self._look()
        self._context = self._load()

    @property
    def fingerprints(self) -> frozenset[bytes]:
        """The SHA-256 of the certificate in use, and for a while that of the previous one."""
        overlaps = self._before and time.monotonic() - self._renewed < self._tls.overlap
        return frozenset({self._latest, self._before} if overlaps else {self._latest})

    def wrap(self, sock: socket.socket) -> ssl.SSLSocket:
        """Return the TLS end of an accepted connection before its handshake; owns the socket."""
        _hasten(sock)
        return self._context.wrap_socket(
            sock, server_side=True, do_handshake_on_connect=False, suppress_ragged_eofs=False
        )

    def wrap_bio(self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO) -> ssl.SSLObject:
        """Return the TLS end of a connection whose bytes the caller moves, before its handshake."""
        return self._context.wrap_bio(incoming, outgoing, server_side=True)

    async def watch(self) -> None:
        """Load changed files soon, and report unusable ones even if no client connects; never returns."""
        while True:
            await asyncio.sleep(self._tls.look_every)
            self.refresh()

    def refresh(self) -> None:
        """Load the files if they have changed; those in use stay if the new ones are unusable.

        Unusable files are tried each time, because the cause may lie elsewhere, such as a lack of descriptors.
        """
        stamps = self._look()
        if stamps == self._stamps and not self._complaint:
            return
        before, self._stamps = self._stamps, stamps
        try:
            self._context = self._load()
        except TransportError as error:
            self._complain(str(error))
        else:
            self._announce([file for file in stamps if stamps[file] != before[file]] or list(stamps))

    def _complain(self, problem: str) -> None:
        _ANNOUNCED.discard(self._stamps)
        if problem != self._complaint:
            self._complaint = problem
            log.error("%s; the old certificate stays in use until the files are corrected", problem)

    def _announce(self, changed: Iterable[str]) -> None:
        state, self._complaint = "usable again" if self._complaint else "changed", ""
        if _ANNOUNCED.add(self._stamps, changed):
            log.info("certificate %s: %s and in use", self._tls.cert, state)

    def _look(self) -> dict[str, _Stamp]:
        return {file: _stamp(file) for file in (self._tls.cert, self._tls.key, self._tls.client_ca) if file}

    def _load(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.sslsocket_class = UnixTlsSocket if self._tls.over_unix else TlsSocket
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(list(PROTOCOLS))
        context.num_tickets = _TICKETS
        try:
            load_pair(context, self._tls.cert, self._tls.key)
            shown = _shown(context)
        except OSError as error:  # ssl.SSLError is one
            names = f"{self._tls.keys}_cert {self._tls.cert}: unusable with {self._tls.keys}_key {self._tls.key}"
            raise TransportError(f"{names}: {objection(error)}") from None
        if self._tls.client_ca:
            self._ask_clients(context)
        self._note(shown)
        return context

    def _ask_clients(self, context: ssl.SSLContext) -> None:
        """Ask clients for a certificate; those without one are accepted, those with a wrong one are not."""
        context.verify_mode = ssl.CERT_OPTIONAL
        try:
            load_authorities(context, self._tls.client_ca)
        except OSError as error:
            name = f"{self._tls.keys}_client_ca {self._tls.client_ca}"
            raise TransportError(f"{name}: {reason(error)}; name a PEM file of the authorities") from None

    def _note(self, certificate: bytes) -> None:
        """Learn the fingerprint of the certificate that clients see."""
        found = hashlib.sha256(certificate).digest()
        if found != self._latest:
            self._before, self._latest, self._renewed = self._latest, found, time.monotonic()


def _shown(context: ssl.SSLContext) -> bytes:
    """Return the certificate that a server shows to clients, learned by a handshake in memory. Raises OSError.

    OpenSSL reads forms of PEM that a search in the file would miss, and the file may be another one by then.
    """
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context("", verify=False).wrap_bio(down, up)
    server = context.wrap_bio(up, down, server_side=True)
    for end in (client, server, client, server, client):  # the last two steps are those of TLS 1.2
        with contextlib.suppress(ssl.SSLWantReadError):
            end.do_handshake()
    return client.getpeercert(binary_form=True) or b""


def _stamp(file: str) -> _Stamp:
    """Return numbers that change with the content of a file; none if there is no file."""
    try:
        found = os.stat(file)  # noqa: PTH116
    except OSError:
        return ()
    return found.st_mtime_ns, found.st_size, found.st_ino


def client_context(authorities: str, *, verify: bool) -> ssl.SSLContext:
    """Return a context of a client, which trusts the system's authorities if none are named; raise OSError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols([PROTOCOLS[0]])  # as browsers do for a WebSocket; HTTP/2 has no upgrade
    context.check_hostname = verify
    context.verify_mode = ssl.CERT_REQUIRED if verify else ssl.CERT_NONE
    if verify and authorities:
        load_certificates(context, authorities)
    elif verify:
        context.load_default_certs()
    return context


class ClientContext:
    """The TLS context of the client; remembers the last session, so that later handshakes are cheap."""

    def __init__(self, tls: ClientTls) -> None:
        """Load the authorities; raise TransportError if their file is unusable."""
        self._tls = tls
        self._session: ssl.SSLSession | None = None
        self._renew_at = 0.0  # time.monotonic()
        self._stamp = self._look()
        self._context = self._load()

    def wrap(self, sock: socket.socket) -> ssl.SSLSocket:
        """Return the TLS end of a connection to the server before its handshake; owns the socket."""
        self._refresh()
        _hasten(sock)
        return self._context.wrap_socket(
            sock,
            server_hostname=self._tls.server_name,
            session=self._session,
            do_handshake_on_connect=False,
            suppress_ragged_eofs=False,
        )

    def _look(self) -> _Stamp:
        return _stamp(self._tls.ca) if self._tls.verify and self._tls.ca else ()

    def _load(self) -> ssl.SSLContext:
        try:
            context = client_context(self._tls.ca, verify=self._tls.verify)
        except OSError as error:
            raise TransportError(f"tls_ca {self._tls.ca}: unusable: {error}") from None
        context.sslsocket_class = TlsSocket
        return context

    def _refresh(self) -> None:
        """Load the authorities if their file has changed; those in use stay if the new ones are unusable."""
        stamp = self._look()
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._context = self._load()
        except TransportError as error:
            log.error("%s; the old authorities stay in use until the file is corrected", error)
        else:
            self._session = None  # the former authorities have vouched for it
            log.info("tls_ca %s: changed and in use", self._tls.ca)

    @property
    def verifies(self) -> bool:
        """True if an authority vouches for the server's certificate, or the client knows it."""
        return self._tls.verify or bool(self._tls.fingerprint)

    def check(self, sock: ssl.SSLSocket) -> None:
        """Raise TransportError if a certificate is pinned and the server's is another one."""
        if not self._tls.fingerprint:
            return
        found = fingerprint(sock).hex()
        if found != self._tls.fingerprint:
            raise TransportError(f"the server's certificate has the fingerprint {found}, not tls_fingerprint")

    def remember(self, sock: ssl.SSLSocket) -> None:
        """Store the session: with TLS 1.3 its ticket arrives before the first bytes read.

        A working session is kept for a while, because Python encodes and decodes all of a new one, certificate
        included, which costs as much as the rest of a resumed handshake's bookkeeping.
        """
        if sock.session_reused and time.monotonic() < self._renew_at:
            return
        if (session := sock.session) and session.has_ticket:
            self._session = session
            self._renew_at = time.monotonic() + _RENEW_EVERY


def _hasten(sock: socket.socket) -> None:
    """Send each message at once.

    Nagle's algorithm would hold the client's request until the end of its handshake is acknowledged, and the server's
    answer until its tickets are: a round trip for each connection.
    """
    if sock.family != socket.AF_UNIX:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def fingerprint(sock: ssl.SSLSocket) -> bytes:
    """Return the SHA-256 of the peer's certificate."""
    return hashlib.sha256(sock.getpeercert(binary_form=True) or b"").digest()


def shake_hands(poller: Poller, sock: ssl.SSLSocket, done: Shaken) -> None:
    """Drive the handshake; call ``done`` once, with the socket, or with the error after closing the socket."""
    try:
        shaken = _has_shaken(poller, sock, functools.partial(shake_hands, poller, sock, done))
    except OSError as error:
        release(poller, sock)
        done(TransportError(advise(error)))
        return
    if shaken:
        poller.forget(sock)
        done(sock)


def _has_shaken(poller: Poller, sock: ssl.SSLSocket, again: Callable[[], None]) -> bool:
    """Return whether the handshake is complete; otherwise ``again`` is called when it can go on. Raises OSError."""
    try:
        sock.do_handshake()
    except ssl.SSLWantReadError:
        poller.ignore_writable(sock)
        poller.on_readable(sock, again)
        return False
    except ssl.SSLWantWriteError:
        poller.on_writable(sock, again)
        return False
    return True


def advise(error: OSError) -> str:
    """Return the text of an error of a TLS connection to a server or proxy, and the remedy if one is known."""
    remedy = _REMEDIES.get(getattr(error, "reason", None) or "")
    return f"{explain(error)}: {remedy}" if remedy else explain(error)


def explain(error: OSError) -> str:
    """Return the text of a TLS error for an administrator."""
    if isinstance(error, ssl.SSLCertVerificationError):
        if error.verify_code == _NOT_YET_VALID:  # OpenSSL 3.6 has a longer text
            return "the server's certificate is refused: certificate is not yet valid; is this machine's clock right?"
        return f"the server's certificate is refused: {error.verify_message}"
    if isinstance(error, ssl.SSLEOFError) or not str(error):  # errors of asyncio have no text
        return "TLS handshake failed: the other end closed the connection"
    if isinstance(error, ssl.SSLError):
        return f"TLS handshake failed: {(error.reason or str(error)).lower().replace('_', ' ')}"
    return f"TLS handshake failed: {reason(error)}"

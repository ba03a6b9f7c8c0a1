"""The server's answers to handshakes, and the admission of tunnel connections of clients with extensions."""

import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final, NamedTuple

from backhaul import __version__
from backhaul.net.cpu import has_aes
from backhaul.net.poller import Poller
from backhaul.security.derive import derive
from backhaul.security.hello import MAX_PADDING, PROLOGUES, VERSION, ClientHello, ServerHello, decode, encode
from backhaul.security.hint import HINT_SIZE, hint_function, matching
from backhaul.security.noise import KEY_SIZE, HandshakeError, Responder, Shared
from backhaul.security.psk import pre_shared_key
from backhaul.security.records import Cipher
from backhaul.security.session import LOCATOR_SIZE, Register, SessionKeys, Side
from backhaul.transports.auth import Credential, Credentials, Protection
from backhaul.transports.connection import Connection
from backhaul.transports.control.sealed_session import SealedSession, SealedSessionOwner
from backhaul.transports.reasons import unlike
from backhaul.transports.settings import ServerSettings
from backhaul.wire.peer import EXTENSIONS, Feature, Peer, common_features
from backhaul.wire.transports import TRANSPORTS, Transport

_INSTANCE: Final = 16  # bytes that a client learns
_REMEMBERED: Final = 1 << 12  # first messages: a recorded one costs no curve operation while it is among them

_TERMINATED: Final = "TLS is terminated between client and server"
_REMEDY: Final = "if that is your CDN or proxy, set tls_verify = true on the client; otherwise an attacker listens"


@dataclass(frozen=True, kw_only=True, slots=True)
class GuardSettings:
    """The settings of a server that clients learn, and its requirements for them."""

    transport: Transport
    protection: Protection
    certificates: Callable[[], frozenset[bytes]]
    """Returns the SHA-256 of the certificates that clients may have got; a set with ``b""`` without TLS."""
    instance: bytes
    """Random bytes of this process, a secret. Each client learns others, which are made of them and its name: as a
    server of another client it could otherwise pretend to be this process."""
    features: frozenset[Feature] = EXTENSIONS


@dataclass(frozen=True, kw_only=True, slots=True)
class Greeting:
    """The answer to a client that has proved its token."""

    credential: Credential
    message: bytes
    """The second message of the handshake, to be sent."""
    refusal: str
    """The reason why the client is refused; empty if it is not. There is no session then."""
    probe: bool
    """True for a probe; there is no session either."""
    delay: float
    """Seconds before the answer to a probe."""
    warning: str
    """A line for both logs; empty if there is no fault to correct."""
    features: frozenset[Feature]
    keys: SessionKeys
    instance: bytes
    """The bytes by which the client knows its own control channels."""
    number: int
    """The number of the session in admissions."""

    @property
    def final(self) -> bool:
        """True if the answer ends the connection."""
        return self.probe or bool(self.refusal)

    def peer(self, ip: str) -> Peer:
        """Return the client, which is at this address."""
        return Peer(ip, self.credential.name, self.features, self.instance)


class Knock(NamedTuple):
    """A client that has proved its token, and waits for the answer."""

    credential: Credential
    responder: Responder
    hello: ClientHello


class Guard:
    """Answers the first messages of handshakes. The register knows the sessions whose connections are admitted."""

    def __init__(self, credentials: Credentials, settings: GuardSettings) -> None:
        self._credentials = credentials
        self._settings = settings
        self._seen: OrderedDict[bytes, None] = OrderedDict()
        self._prologue = PROLOGUES[settings.transport.http]
        self._version = 0  # of the credentials, when their hints were made
        self._hinted: list[_Candidate] = []
        self.register: Register[SealedSession] = Register(secrets.token_bytes(LOCATOR_SIZE))

    def read(self, data: bytes, unwanted: Callable[[str], bool]) -> Knock | None:
        """Read a first message; return None unless its sender has a token, and it is new.

        Messages of clients whose name is ``unwanted`` cost no curve operation.
        """
        hint, message = data[:HINT_SIZE], data[HINT_SIZE:]
        key = message[:KEY_SIZE]
        if key in self._seen:
            return None
        for credential, _ in matching(self._candidates(), hint, key):
            if unwanted(credential.name):
                continue
            try:
                responder = Responder(Shared.mix(pre_shared_key(credential.token), self._prologue), message)
                hello = decode(ClientHello, responder.payload)
            except HandshakeError:
                continue
            self._remember(key)
            return Knock(credential, responder, hello)
        return None

    def begin(
        self,
        greeting: Greeting,
        poller: Poller,
        connection: Connection,
        owner: SealedSessionOwner,
        *,
        answer_within: float,
    ) -> SealedSession:
        """Return the session, which has still to be confirmed; it owns the socket, and is not reading yet."""
        return SealedSession(
            poller,
            connection,
            greeting.keys,
            self.register,
            owner,
            number=greeting.number,
            instance=greeting.instance,
            http=self._settings.transport.http,
            answer_within=answer_within,
        )

    def _candidates(self) -> "list[_Candidate]":
        """Return all tokens with their hints."""
        if self._version != self._credentials.version:
            self._hinted = [_Candidate(item, hint_function(pre_shared_key(item.token))) for item in self._credentials]
            self._version = self._credentials.version
        return self._hinted

    def _remember(self, key: bytes) -> None:
        self._seen[key] = None
        if len(self._seen) > _REMEMBERED:
            self._seen.popitem(last=False)

    def answer(self, knock: Knock, refusal: str = "") -> Greeting | None:
        """Return the answer to a client, which is refused if it does not fit, or for the reason given.

        None if its token has been removed meanwhile.
        """
        credential, hello = knock.credential, knock.hello
        if not self._credentials.accepts(credential):
            return None
        reply = self._reply(hello, refusal, credential.name)
        try:
            message, keys = knock.responder.answer(encode(reply), secrets.token_bytes(KEY_SIZE))
        except HandshakeError:  # a client that knows the token, and sends a key of small order
            return None
        session = SessionKeys(keys.master, Side.SERVER, reply.cipher, payload=reply.encryption)
        return Greeting(
            credential=credential,
            message=message,
            refusal=reply.refusal,
            probe=hello.probe,
            delay=hello.delay if hello.probe else 0.0,
            warning=reply.warning,
            features=self._features(hello),
            keys=session,
            instance=hello.instance,
            number=reply.session,
        )

    def _reply(self, hello: ClientHello, refusal: str, client: str) -> ServerHello:
        refusal = self._objection(hello) or refusal
        if hello.probe:
            return self._account(hello, refusal)
        padding = bytes(secrets.randbelow(MAX_PADDING + 1))
        instance = derive(self._settings.instance, client.encode())[:_INSTANCE]
        if refusal:
            return ServerHello(refusal=refusal, instance=instance, padding=padding)
        return ServerHello(
            features=tuple(sorted(self._features(hello))),
            encryption=self._seals_payload(hello),
            cipher=Cipher.AES_128_GCM if hello.aes and has_aes() else Cipher.CHACHA20_POLY1305,
            session=self.register.reserve(),
            locator=self.register.locator,
            instance=instance,
            warning=self._warning(hello),
            padding=padding,
        )

    def _account(self, hello: ClientHello, refusal: str) -> ServerHello:
        """Return the answer to a probe."""
        return ServerHello(
            refusal=refusal,
            features=tuple(sorted(self._features(hello))),
            encryption=self._seals_payload(hello),
            warning=self._warning(hello),
            program=__version__,
            time=time.time(),
            padding=bytes(len(hello.padding)),
        )

    def _features(self, hello: ClientHello) -> frozenset[Feature]:
        return common_features(hello.features) & self._settings.features

    def _warning(self, hello: ClientHello) -> str:
        return f"{_TERMINATED}; {_REMEDY}" if self._is_terminated(hello) else ""

    def _objection(self, hello: ClientHello) -> str:
        """Return the reason why these ends don't fit; empty if they do."""
        settings, theirs = self._settings, TRANSPORTS.get(hello.transport)
        if theirs is None or theirs.carrier != settings.transport.carrier:
            return unlike("client", theirs.name if theirs else "another transport", settings.transport.name)
        if hello.version != VERSION:
            versions = f"version {hello.version} of the protocol, this server version {VERSION}"
            return f"the client speaks {versions}; run the same version of this program on both ends"
        required = hello.required or settings.protection.required
        return f"{_TERMINATED}; {_REMEDY}" if required and self._is_terminated(hello) else ""

    def _is_terminated(self, hello: ClientHello) -> bool:
        """Return whether TLS ends on the way, at a place for which neither an authority nor the client vouches."""
        return not hello.verified and not self._has_same_tls(hello)

    def _has_same_tls(self, hello: ClientHello) -> bool:
        return hello.certificate in self._settings.certificates()

    def _seals_payload(self, hello: ClientHello) -> bool:
        """Return whether records hold payload: when either end wants it and TLS does not do it, or TLS is broken."""
        within_tls = bool(hello.certificate) and self._has_same_tls(hello)
        wanted = self._settings.protection.encryption or hello.encryption
        return (wanted and not within_tls) or self._is_terminated(hello)


class _Candidate(NamedTuple):
    """A token, and the function that makes its hints."""

    credential: Credential
    hint: blake2b


def make_guard(settings: ServerSettings, transport: Transport, certificates: Callable[[], frozenset[bytes]]) -> Guard:
    """Return the guard of a gate; ``certificates`` as in ``GuardSettings``."""
    return Guard(
        settings.credentials,
        GuardSettings(
            transport=transport,
            protection=settings.protection,
            certificates=certificates,
            features=settings.features,
            instance=settings.instance,
        ),
    )

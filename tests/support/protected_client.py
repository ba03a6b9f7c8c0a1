"""A client with a protected session, as a test plays it: its connections begin with sealed messages."""

import secrets
from dataclasses import dataclass, replace
from typing import Self

from backhaul.security import kinds
from backhaul.security.records import Opener, Record, Seals
from backhaul.security.session import NONCE_SIZE
from backhaul.transports.auth import OwnTokens, Protection, Security
from backhaul.transports.control.sealed import Codec, RecordCodec, WebSocketCodec
from backhaul.transports.doors.handshake import Agreement, Handshake, Seen
from backhaul.transports.settings import ClientSettings
from backhaul.wire import base64url, smux, upgrade
from backhaul.wire.frames import FrameReader, Sealed, sealed_message
from backhaul.wire.messages import Message
from backhaul.wire.signals import Signal
from backhaul.wire.transports import TRANSPORTS
from backhaul.wire.upgrade import Answer, AnswerReader

from .doors import door_settings
from .net import Peer
from .public import Public
from .tunnel import TOKEN, Net


def client_settings(
    *,
    token: str = TOKEN,
    security: Security = Security.AUTO,
    encryption: bool = False,
    mux: smux.Settings = smux.Settings(),  # noqa: B008 - immutable
) -> ClientSettings:
    """Return the settings of a client whose connections the test makes."""
    settings = door_settings(0, mux=mux)
    return replace(settings, tokens=OwnTokens([token]), protection=Protection(security, encryption))


def begin(transport: str = "tcp", settings: ClientSettings | None = None, seen: Seen = Seen()) -> Handshake:  # noqa: B008
    """Begin a handshake."""
    return Handshake(settings or client_settings(), TRANSPORTS[transport], seen)


def framed(kind: Sealed, body: bytes) -> bytes:
    """Return a sealed message as tcp, tcpmux and udp carry it."""
    return kind.frame(body, secrets.randbits(6))


async def answer_on(control: Peer) -> bytes:
    """Return the server's message of a handshake."""
    reader = FrameReader(base64url.size(1024))
    while True:
        if frame := reader.feed(await control.receive(1)):
            return sealed_message(frame.body)


@dataclass
class ProtectedClient:
    """A client on a raw transport after its handshake, which it has not confirmed."""

    net: Net
    port: int
    control: Peer
    first: bytes
    """Its first message, with its frame."""
    agreement: Agreement
    codec: Codec

    @classmethod
    async def dial(cls, net: Net, port: int, source: str = "", settings: ClientSettings | None = None) -> Self:
        """Open a control channel, and do the handshake."""
        handshake = begin(net.transport, settings)
        control = await net.dial(port, source=source)
        first = framed(Sealed.HANDSHAKE, handshake.message)
        await control.send(first)
        agreement = handshake.finish(await answer_on(control))
        return cls(net, port, control, first, agreement, RecordCodec(agreement.terms.keys.control()))

    async def confirm(self) -> Self:
        """Show that this is no recording, and wait for the answer."""
        await self.send(Signal.PROBE)
        await self.hear(Signal.ANSWER)
        return self

    async def send(self, signal: Signal, body: bytes = b"") -> None:
        """Send a message on the control channel."""
        await self.control.send(self.codec.encode(signal, body))

    async def hear(self, signal: Signal) -> Message:
        """Return the next message of this kind; others before it are ignored."""
        while True:
            for message in self.codec.feed(await self.control.receive(1)):
                if message.signal == signal:
                    return message

    def admission(self) -> tuple[bytes, Seals]:
        """Return the beginning of a tunnel connection, and the seals of the rest."""
        admission = self.agreement.terms.admissions.next(secrets.token_bytes(NONCE_SIZE))
        padding = secrets.token_bytes(secrets.randbelow(64))
        return framed(Sealed.ADMISSION, admission.data + padding), admission.seals

    async def carrier(self, source: str = "") -> tuple[Peer, Opener]:
        """Open a tunnel connection; return it, and what opens the server's records."""
        data, seals = self.admission()
        carrier = await self.net.dial(self.port, source=source)
        await carrier.send(data)
        return carrier, seals.opener


async def target_on(carrier: Peer, opener: Opener) -> Record:
    """Return the announcement of a target on a tunnel connection."""
    length = int.from_bytes(await carrier.receive(3))
    plain = opener.open(await carrier.receive(length))
    return Record(plain[0], kinds.unpad(plain[1:]), b"")


def ask(message: bytes, path: str = "/channel") -> tuple[bytes, AnswerReader]:
    """Return a request for an upgrade with a sealed message, and what reads the answer."""
    key = upgrade.encode_key(secrets.token_bytes(upgrade.NONCE_SIZE))
    agent = upgrade.USER_AGENTS[0]
    asked = upgrade.Asked(path=path, host="example.com", default_port=80, key=key, user_id=1, user_agent=agent)
    return upgrade.sealed_request(asked, message), upgrade.AnswerReader(key)


@dataclass
class ProtectedVisitor:
    """A client over HTTP after its handshake, which it has not confirmed."""

    net: Net
    port: int
    control: Peer
    first: bytes
    """Its first message."""
    agreement: Agreement
    codec: Codec

    @classmethod
    async def dial(cls, net: Net, port: int, settings: ClientSettings | None = None, seen: Seen = Seen()) -> Self:  # noqa: B008
        """Open a control channel, and do the handshake."""
        handshake = begin(net.transport, settings, seen)
        control, answer = await upgraded_with(net, port, handshake.message)
        agreement = handshake.finish(answer.message)
        codec = WebSocketCodec(agreement.terms.keys.control(), lambda _: None, from_client=False)
        return cls(net, port, control, handshake.message, agreement, codec)

    async def confirm(self) -> Self:
        """Show that this is no recording, and wait for the answer."""
        await self.control.send(self.codec.encode(Signal.PROBE))
        while Signal.ANSWER not in [message.signal for message in self.codec.feed(await self.control.receive(1))]:
            pass
        return self

    def admission(self) -> bytes:
        """Return the message of a request for a tunnel connection."""
        return self.agreement.terms.admissions.next(secrets.token_bytes(NONCE_SIZE)).data


async def upgraded_with(net: Net, port: int, message: bytes, path: str = "/channel") -> tuple[Peer, Answer]:
    """Upgrade a connection with a sealed message; return it, and the server's answer."""
    request, reader = ask(message, path)
    peer = await net.dial(port)
    await peer.send(request)
    while not (answer := reader.feed(await peer.receive(1))):
        pass
    return peer, answer


async def connected(public: Public, source: str = "") -> ProtectedClient:
    """Return a client that has confirmed its handshake."""
    client = await (await ProtectedClient.dial(public.net, public.port, source)).confirm()
    assert public.server.tunnel.connected
    return client


async def rejected(public: Public, data: bytes, source: str = "") -> None:
    """Assert that the server closes a connection without an answer."""
    other = await public.tunnel_connection(source)
    await other.send(data)
    assert await other.receive_all() == b""

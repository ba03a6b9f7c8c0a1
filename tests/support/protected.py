"""A protected server on transport tcp, or client on tcp, tcpmux or udp, played with the program's own cores."""

import os
from typing import Final, Self

from backhaul.security.hello import PROLOGUES, ClientHello, ServerHello, decode, encode
from backhaul.security.hint import HINT_SIZE, with_hint
from backhaul.security.noise import KEY_SIZE, Initiator, Responder, Shared
from backhaul.security.psk import pre_shared_key
from backhaul.security.records import Cipher, RecordReader, Seals
from backhaul.security.session import ADMISSION_SIZE, LOCATOR_SIZE, NONCE_SIZE, Admissions, Register, SessionKeys, Side
from backhaul.wire import frames
from backhaul.wire.frames import HEAD_SIZE, Sealed
from backhaul.wire.messages import Message, encode_request, read_message
from backhaul.wire.peer import EXTENSIONS
from backhaul.wire.signals import Signal

from .net import Peer
from .tunnel import TOKEN

_NUMBER: Final = 7  # of the session


async def receive_frame(peer: Peer) -> tuple[Sealed, bytes]:
    """Return the next frame of a handshake or an admission."""
    head = await peer.receive(HEAD_SIZE)
    return frames.sealed_kind(head[2]), frames.sealed_message(await peer.receive(int.from_bytes(head[:2])))


class Control:
    """A sealed control channel of a played end."""

    def __init__(self, peer: Peer, seals: Seals) -> None:
        self.peer = peer
        self._seals = seals
        self._messages: list[Message] = []
        self._reader = RecordReader(seals.opener, self._take)

    async def send(self, *signals: Signal) -> None:
        """Send messages without a body, all at once."""
        await self.peer.send(b"".join([bytes(self._seals.sealer.frame(signal, b"")) for signal in signals]))

    async def request(self, count: int) -> None:
        """Ask for tunnel connections."""
        await self.peer.send(self._seals.sealer.frame(Signal.CHANNEL, encode_request(count, b"")))

    async def receive(self) -> Signal:
        """Return the other end's next message; EOFError if there is none."""
        while not self._messages:
            data = await self.peer.receive_some()
            if not data:
                raise EOFError
            self._reader.feed(memoryview(bytearray(data)))
        return self._messages.pop(0).signal

    def _take(self, kind: int, body: memoryview) -> None:
        self._messages += read_message(kind, bytes(body))


class ProtectedServer:
    """Answers handshakes, and checks admissions of the last session only."""

    def __init__(self, token: str = TOKEN, *, reply: ServerHello | None = None) -> None:
        """``reply`` replaces the server's hello."""
        self._shared = Shared.mix(pre_shared_key(token.encode()), PROLOGUES[False])
        self._reply = reply
        self._register: Register[SessionKeys] = Register(os.urandom(LOCATOR_SIZE))
        self.hello = ClientHello("")
        """The last client's."""

    async def accept(self, peer: Peer) -> Control:
        """Answer the handshake; return the control channel, which the client has confirmed."""
        control = await self.answer(peer)
        assert await control.receive() == Signal.PROBE
        return control

    async def answer(self, peer: Peer, after: bytes = b"") -> Control:
        """Answer the handshake, and send ``after`` with it."""
        kind, body = await receive_frame(peer)
        assert kind is Sealed.HANDSHAKE
        responder = Responder(self._shared, body[HINT_SIZE:])
        self.hello = decode(ClientHello, responder.payload)
        reply = self._reply or self._agree()
        message, keys = responder.answer(encode(reply), os.urandom(KEY_SIZE))
        session = SessionKeys(keys.master, Side.SERVER, reply.cipher, payload=reply.encryption)
        self._register.forget(_NUMBER)
        self._register.enter(_NUMBER, session, session)
        await peer.send(Sealed.HANDSHAKE.frame(message, 0) + after)
        return Control(peer, session.control())

    async def admits(self, carrier: Peer) -> bool:
        """Read the admission of a tunnel connection; return whether it is one of the last session."""
        kind, body = await receive_frame(carrier)
        assert kind is Sealed.ADMISSION
        assert len(body) >= ADMISSION_SIZE
        return self._register.check(body) is not None

    def _agree(self) -> ServerHello:
        return ServerHello(
            features=tuple(sorted(EXTENSIONS)),
            cipher=Cipher.AES_128_GCM,
            session=_NUMBER,
            locator=self._register.locator,
        )


class ProtectedClient:
    """A client of a protected server: its handshake, and admissions of its tunnel connections."""

    def __init__(self, control: Control, admissions: Admissions) -> None:
        self.control = control
        self._admissions = admissions

    def admission(self) -> bytes:
        """Return the first bytes of another tunnel connection."""
        data = self._admissions.next(os.urandom(NONCE_SIZE)).data
        return Sealed.ADMISSION.frame(data, 0)

    @classmethod
    async def connect(cls, peer: Peer, hello: ClientHello, token: str = TOKEN) -> Self:
        """Shake hands on a new connection, and confirm it."""
        client = await cls.greet(peer, hello, token)
        await client.confirm()
        return client

    async def confirm(self) -> None:
        """Show that the client has the keys."""
        await self.control.send(Signal.PROBE)
        assert await self.control.receive() == Signal.ANSWER

    @classmethod
    async def greet(cls, peer: Peer, hello: ClientHello, token: str = TOKEN) -> Self:
        """Shake hands on a new connection."""
        shared = Shared.mix(pre_shared_key(token.encode()), PROLOGUES[False])
        initiator = Initiator(shared, os.urandom(KEY_SIZE))
        first = with_hint(pre_shared_key(token.encode()), initiator.begin(encode(hello)))
        await peer.send(Sealed.HANDSHAKE.frame(first, 0))
        kind, body = await receive_frame(peer)
        assert kind is Sealed.HANDSHAKE
        payload, keys = initiator.finish(body)
        reply = decode(ServerHello, payload)
        session = SessionKeys(keys.master, Side.CLIENT, reply.cipher, payload=reply.encryption)
        control = Control(peer, session.control())
        return cls(control, Admissions(session, reply.session, reply.locator))

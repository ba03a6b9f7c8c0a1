"""The door of tcp, tcpmux and udp: the control channel, and tunnel connections with their admission."""

import asyncio
import functools
import secrets
import socket
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

from backhaul.errors import TransportError
from backhaul.net.closing import release
from backhaul.net.poller import Poller
from backhaul.net.resolver import Resolver
from backhaul.net.tcp_info import TcpInfo
from backhaul.transports.client_end import Answer, Opened
from backhaul.transports.connection import Connection, SealedConnection
from backhaul.transports.settings import ClientSettings
from backhaul.wire import base64url
from backhaul.wire.frames import FrameReader, FrameTooLongError, Sealed, sealed_message
from backhaul.wire.peer import V072, Peer
from backhaul.wire.transports import TRANSPORTS

from .door import MAX_PADDING, SealingDoor, SilentError, UnansweredError
from .lines import Line
from .raw_v072 import RawLine, shake_hands

if TYPE_CHECKING:
    from backhaul.security.session import Admission, SessionKeys

_MAX_ANSWER: Final = base64url.size(1024)  # characters of the server's message


class RawDoor(SealingDoor):
    """Dials the server; owns the control channel."""

    def __init__(self, poller: Poller, settings: ClientSettings, resolver: Resolver, transport: str) -> None:
        """``transport`` is tcp, tcpmux or udp."""
        super().__init__(poller, settings, resolver)
        self._loop = asyncio.get_running_loop()
        self._transport = TRANSPORTS[transport]
        self._address = ("", 0)

    @property
    def keys(self) -> "SessionKeys | None":
        """The keys of a protected session; None while the server is v0.7.2 or not connected."""
        return self._line.keys

    def disconnect(self) -> None:
        """Close the control channel and stop dialling."""
        self._dialer.close()
        self._hang_up()

    def close(self) -> None:
        """Do nothing: ``disconnect`` leaves nothing to be opened."""

    def _dial_tunnel(self, line: Line, done: Opened, *, resumes: bool) -> None:
        introduce = functools.partial(self._introduce, line, done, resumes=resumes)
        self._dialer.dial(*self._address, self._settings.tunnel_options, introduce)

    def _introduce(self, line: Line, done: Opened, result: socket.socket | OSError, *, resumes: bool) -> None:
        """Pass on a new tunnel connection, after its admission if the server has extensions."""
        if isinstance(result, OSError):
            done(result)
        elif admission := line.admission(resumes=resumes):
            done(self._admit(result, line.server, admission))
        else:
            done(Connection(result, V072))

    def _admit(self, sock: socket.socket, server: Peer, admission: "Admission") -> Connection | OSError:
        noise = secrets.token_bytes(2 + MAX_PADDING)  # one call, because each one is a system call
        message = admission.data + noise[2 : 2 + noise[1] % MAX_PADDING]
        try:
            # The send takes all or nothing: an empty buffer of any size takes a segment (tcp_sendmsg).
            sock.send(Sealed.ADMISSION.frame(message, noise[0]))
        except OSError as error:  # the server has closed it already, for instance for lack of descriptors
            release(self._poller, sock)
            return error
        return SealedConnection(sock, server, seals=admission.seals)

    async def _connect_sealed(self) -> str:
        return await self._connect(self._open_sealed)

    async def _connect_legacy(self) -> str:
        try:
            return await self._connect(self._open_legacy)
        except TransportError:
            self._tokens.refused()
            raise

    async def _connect(self, begin: Callable[[socket.socket], Awaitable[None]]) -> str:
        settings, dialer = self._settings, self._dialer
        sock = await dialer.connect(settings.remote_host, settings.remote_port, settings.tunnel_options)
        try:
            self._address = (dialer.host_of(sock, settings.remote_host), settings.remote_port)
            peer = dialer.peer_of(sock, settings.remote_host)
            await begin(sock)
        except BaseException:
            self.disconnect()
            release(self._poller, sock)
            raise
        return peer

    async def _open_sealed(self, sock: socket.socket) -> None:
        from backhaul.security.noise import HandshakeError  # noqa: PLC0415 - both load cryptography

        from .handshake import Handshake, Seen  # noqa: PLC0415

        handshake = Handshake(self._settings, self._transport, Seen())
        try:
            message, rest = await self._exchange(sock, handshake.message)
            agreement = handshake.finish(message)
        except TimeoutError:
            limit = self._settings.handshake_timeout
            raise SilentError(f"the server sent no answer to the protected handshake within {limit:g} s") from None
        except (OSError, HandshakeError, FrameTooLongError):
            raise UnansweredError("the server did not answer the protected handshake") from None
        line = agreement.line(self._poller, sock, self._heard, self._lost, on_check=self._check_wanted)
        self._agree(agreement.warning, line, rest)

    async def _ask(self) -> Answer:
        from backhaul.security.noise import HandshakeError  # noqa: PLC0415 - as above

        from .handshake import Seen  # noqa: PLC0415
        from .probe import check, probe_of  # noqa: PLC0415

        settings, probe = self._settings, probe_of(self._settings, self._transport, Seen())
        sock = await self._dialer.connect(settings.remote_host, settings.remote_port, settings.tunnel_options)
        begun = time.perf_counter()
        try:
            check(probe, (await self._exchange(sock, probe.message))[0])
            return Answer(time.perf_counter() - begun, TcpInfo.of(sock).resent)
        except (OSError, HandshakeError, FrameTooLongError):
            raise UnansweredError("the server did not answer a question") from None
        finally:
            release(self._poller, sock)

    async def _exchange(self, sock: socket.socket, message: bytes) -> tuple[bytes, bytes]:
        """Send the first message of a handshake; return the answer, and the bytes after it."""
        reader = FrameReader(_MAX_ANSWER)
        async with asyncio.timeout(self._settings.handshake_timeout):
            await self._loop.sock_sendall(sock, Sealed.HANDSHAKE.frame(message, secrets.randbits(6)))
            while data := await self._loop.sock_recv(sock, 4096):
                if frame := reader.feed(data):
                    return sealed_message(frame.body), frame.rest
        raise UnansweredError("the server closed the connection during the protected handshake")

    async def _open_legacy(self, sock: socket.socket) -> None:
        token = self._tokens.current
        try:
            async with asyncio.timeout(self._settings.handshake_timeout):
                rest = await shake_hands(self._loop, sock, token)
        except TimeoutError:
            raise TransportError(
                "the server did not answer the handshake; is the token right, and no other client connected?"
            ) from None
        grace = self._settings.greeting_grace
        self._line = line = RawLine(self._poller, sock, self._transport, self._events, self._lost, grace=grace)
        line.start(rest)
        if line.misfit:
            raise TransportError(line.misfit)

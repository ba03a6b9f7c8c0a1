"""The exchange of a probe with the server, on the transport of the client."""

import asyncio
import time
from contextlib import suppress
from typing import Final, NamedTuple

from backhaul.config import ClientConfig
from backhaul.net.tcp_info import TcpInfo
from backhaul.security.hello import PROBE_PADDING, ServerHello
from backhaul.security.noise import HandshakeError
from backhaul.transports.auth import Protection, Security
from backhaul.transports.doors.handshake import Seen
from backhaul.transports.doors.probe import Probe

from .channel import Channel, Opener, Pace
from .envelopes import Silence, in_cookies, in_frames


class Answered(NamedTuple):
    """The server's answer to a probe."""

    hello: ServerHello
    seconds: float
    """From the probe to its answer."""
    tcp: TcpInfo


class Asker:
    """Asks a server at one of its addresses."""

    def __init__(self, opener: Opener, seen: Seen) -> None:
        self.waits: Final = opener.waits
        self._opener = opener
        self._seen = seen

    async def ask(
        self, token: str, within: float, *, padding: int = 0, mss: int = 0, delay: float = 0
    ) -> Answered | Silence:
        """Send a probe on a connection of its own. Raises OSError; TimeoutError unless it is answered in time."""
        probe = await asyncio.to_thread(self._probe, token, padding, delay)  # the key of a weak token takes 100 ms
        async with self._opener.open(mss) as channel:
            begun = time.monotonic()
            async with asyncio.timeout(within):
                message = await self._exchange(channel, probe)
            if isinstance(message, Silence):
                return message
            return _judged(probe, message, time.monotonic() - begun, channel.tcp())

    async def sample(self, token: str, pace: Pace, within: float) -> TcpInfo:
        """Return the figures of a connection that carries a probe in many packets. Raises OSError."""
        probe = await asyncio.to_thread(self._probe, token, PROBE_PADDING, 0.0)
        async with self._opener.open(pace=pace) as channel:
            with suppress(OSError):  # TimeoutError is one
                async with asyncio.timeout(within):
                    await self._exchange(channel, probe)
            return channel.tcp()

    async def _exchange(self, channel: Channel, probe: Probe) -> bytes | Silence:
        config = self._opener.config
        if config.facts.http:
            return await in_cookies(channel, probe.message, config)
        return await in_frames(channel, probe.message)

    def _probe(self, token: str, padding: int, delay: float) -> Probe:
        config = self._opener.config
        return Probe(
            token.encode(),
            config.facts,
            self._seen,
            protection=protection_of(config),
            padding=padding,
            delay=delay,
        )


def protection_of(config: ClientConfig) -> Protection:
    """Return the client's requirements for its server."""
    return Protection(Security(config.security), config.encryption)


def _judged(probe: Probe, message: bytes, seconds: float, tcp: TcpInfo) -> Answered | Silence:
    try:
        return Answered(probe.finish(message), seconds, tcp)
    except HandshakeError:
        return Silence("the program that answers does not have this token")

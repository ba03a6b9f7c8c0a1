"""The way from the client to its server, step by step; each step needs the one before."""

import asyncio
import functools
from collections.abc import AsyncIterator
from contextlib import suppress

from backhaul.config import ClientConfig
from backhaul.transports.doors.handshake import Seen

from . import clock, fit, line, names, nat, reach, segments, tls
from .channel import Connect, Opener, options_of
from .circumstances import Circumstances
from .envelopes import Silence, date_of
from .exchange import Answered, Asker, protection_of
from .finding import Finding, skipped
from .names import Place
from .via import Passage


class Journey:
    """The checks of one client on the way to its server."""

    def __init__(self, config: ClientConfig, around: Circumstances) -> None:
        self._config = config
        self._around = around

    async def travel(self) -> AsyncIterator[Finding]:
        """Yield the findings of all steps, up to the one that fails."""
        config, waits = self._config, self._around.waits
        host, port, key = self._first_stop
        places, finding = await names.find(host, port, key, self._around.names, waits.name)
        yield finding
        if places and self._would_disturb:
            yield skipped(
                "tcp",
                "not checked: the program is connected, and a server of v0.7.2 would give the connection to a user",
                "stop the program to check the way to the server",
            )
            return
        arrivals = await reach.arrive(places, waits.connect, options_of(config))
        for finding in reach.findings(arrivals):
            yield finding
        reached = [arrival.place for arrival in arrivals if not arrival.error]
        if reached:
            async for finding in self._beyond(reached[0]):
                yield finding

    @property
    def _first_stop(self) -> tuple[str, int, str]:
        """Host and port to dial, and the key that names them."""
        config = self._config
        if config.way:
            return config.way.host, config.way.port, "proxy"
        key = "remote_addr" if config.dialled.host == config.remote_addr.host else "edge_ip"
        return config.dialled.host, config.dialled.port, key

    async def _beyond(self, place: Place) -> AsyncIterator[Finding]:
        """Yield the findings after TCP to the first stop."""
        config, waits = self._config, self._around.waits
        if not config.way:
            connect: Connect = functools.partial(reach.connected, place, waits.connect)
        else:
            passage = Passage(config.way, config, self._around.names, waits.connect)
            passes, finding = await passage.examine(options_of(config))
            yield finding
            if not passes:
                return
            connect = passage.connected
        async for finding in self._inside(Opener(config, waits, connect), place):
            yield finding

    @property
    def _would_disturb(self) -> bool:
        """True if a v0.7.2 server may mistake a new connection for one that its client has opened for users."""
        config, around = self._config, self._around
        known = around.known.protected(config.remembered_as)
        sure = config.facts.http or known or not protection_of(config).allows_v072
        return around.connected and not sure

    async def _inside(self, opener: Opener, place: Place) -> AsyncIterator[Finding]:
        """Yield the findings on connections to the server."""
        config = self._config
        seen = Seen()
        if config.facts.tls:
            try:
                certificate = await tls.look(opener)
                yield await tls.judge(opener, certificate, self._around.now())
            except tls.Refusal as refusal:
                yield refusal.finding
                if refusal.dated:
                    async for finding in self._clock(opener):
                        yield finding
                return
            seen = Seen(bytes.fromhex(certificate.fingerprint), config.tls_verify or bool(config.tls_fingerprint))
        if not protection_of(config).seals:
            text = 'not checked: with security = "legacy" the server would take a check for the client'
            yield skipped(fit.SUBJECT, text, "`backhaul status` shows whether the started client is connected")
            return
        async for finding in self._questions(Asker(opener, seen), place):
            yield finding

    async def _clock(self, opener: Opener) -> AsyncIterator[Finding]:
        """Yield the finding about the clock of a server whose certificate is refused."""
        with suppress(OSError):  # TimeoutError is one; such a server reports no time
            async with opener.open() as channel, asyncio.timeout(opener.waits.answer):
                if there := await date_of(channel, opener.server_name):
                    yield clock.compare(self._around.now(), there)

    async def _questions(self, asker: Asker, place: Place) -> AsyncIterator[Finding]:
        """Yield the findings about the server's answers."""
        answer, token, finding = await fit.examine(asker, self._config)
        yield finding
        if isinstance(answer, Silence) and answer.clock:
            yield clock.compare(self._around.now(), answer.clock)
        if not isinstance(answer, Answered):
            return
        if answer.hello.time:
            yield clock.compare(self._around.now(), answer.hello.time)
        finding, answers = await segments.Search(asker, token.reveal(), answer).examine()
        yield finding
        options = options_of(self._config)
        trips = [(await reach.arrive([place], self._around.waits.connect, options))[0] for _ in range(line.ROUNDS)]
        samples = await line.sample(asker, token.reveal(), answer.tcp.round_trip)
        figures = [*samples, *(one.tcp for one in (answer, *answers))]
        yield line.summarise(trips, figures, datagrams=self._config.facts.datagrams)
        if self._around.silences:
            yield await nat.examine(asker, token.reveal(), self._around.silences)

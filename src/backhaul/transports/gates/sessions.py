"""The sessions of a gate, one for each client."""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Hashable, Iterable
from typing import TYPE_CHECKING, Final, Protocol

from backhaul.failures import Failures, network_of
from backhaul.net.log_throttle import LogThrottle
from backhaul.transports.auth import Credentials
from backhaul.transports.public_end import SharedGateEvents
from backhaul.transports.reasons import RENEWED, taken_over
from backhaul.transports.session import ClientSession
from backhaul.transports.settings import GateLimits
from backhaul.wire.checks import Health
from backhaul.wire.messages import Refusal
from backhaul.wire.peer import Peer
from backhaul.wire.signals import Signal

from .crowd import Crowd
from .reputation import Reputation

log = logging.getLogger("backhaul.server")

if TYPE_CHECKING:
    from backhaul.transports.control.sealed_session import SealedSession

NO_CLIENT: Final = "it belongs to no client that is connected"
"""The reason for refusing a tunnel connection that proves nothing; its control channel may have been replaced."""

# A recorded handshake reaches this state only if it is older than those that the guard remembers. An attacker with many
# of them displaces those of the same network and client: behind a proxy all clients have the same network.
_MIN_UNCONFIRMED = 64
_UNCONFIRMED_OF_CLIENT = 32  # in one network; each costs a curve operation
# Control channels of a client within a minute that have no consequence; one that retries every 3 s makes 20.
_MOST_RETURNS = 60
# Handshakes of a client in one network and a minute that lead to no control channel: probes and refusals. Each costs
# half a millisecond, and a client that doubts its server asks every 3 s.
_MOST_ANSWERS = 120
_MINUTE = 60.0
_FIRST_PAUSE = 5.0


class GateSession(ClientSession, Hashable, Protocol):
    """A session as its gate sees it."""

    @property
    def instance(self) -> bytes:
        """The bytes by which the client knows its own control channels; empty if it does not say."""

    def start(self) -> None:
        """Begin to read the control channel."""

    def ping_if_silent(self) -> None:
        """Ping a silent control channel, which a proxy would close."""

    def close(self) -> None:
        """Close the control channel."""


class Sessions:
    """Owns the sessions, and tells the events of their beginnings and ends.

    A client that connects again replaces its older session: one of v0.7.2 with its handshake, one with extensions once
    it has confirmed that it is no recording.
    """

    _events: SharedGateEvents

    def __init__(
        self,
        limits: GateLimits,
        reputation: Reputation,
        credentials: Credentials,
        left: Callable[["GateSession"], None] = lambda _session: None,
    ) -> None:
        """``left`` gets each closed session.

        As many handshakes may be unconfirmed as there are ``credentials``: all clients may return at once.
        """
        self._credentials = credentials
        self._loop = asyncio.get_running_loop()
        self._patience = limits.handshake_timeout
        self._reputation = reputation
        self._left = left
        self._throttle = LogThrottle(log)
        self._by_name: dict[str, GateSession] = {}
        self._by_address: dict[str, GateSession] = {}  # those that only an address vouches for
        self._addresses: Counter[str] = Counter()  # of all sessions
        self._unconfirmed: dict[GateSession, asyncio.TimerHandle] = {}
        self._sources: Crowd[GateSession] = Crowd()  # of those
        most, respite = _UNCONFIRMED_OF_CLIENT - 1, limits.respite
        self._lapsed = Failures(most, window=respite, first=respite, longest=respite)
        self._returns = Failures(_MOST_RETURNS, window=_MINUTE, first=_FIRST_PAUSE, longest=_MINUTE)
        self._answers = Failures(_MOST_ANSWERS, window=_MINUTE, first=_FIRST_PAUSE, longest=_MINUTE)
        self.met_a_client = False
        """True once any client has proved its token."""

    def start(self, events: SharedGateEvents) -> None:
        """Report to ``events`` from now on."""
        self._events = events

    def find(self, name: str) -> GateSession | None:
        """Return the session of the client with this name, or None."""
        return self._by_name.get(name)

    def at(self, ip: str) -> GateSession | None:
        """Return the session whose connections are known by this address alone, or None."""
        return self._by_address.get(ip)

    def crowded_address(self, ip: str) -> bool:
        """Return whether several clients are connected from this address."""
        return self._addresses[ip] > 1

    def occupant(self, name: str, instance: bytes = b"") -> "GateSession | None":
        """Return the session that must be asked before another client with its token takes its place.

        No client is asked because of its own older control channel, which has the same ``instance``.
        """
        before = self._by_name.get(name)
        return None if before and instance and instance == before.instance else before

    def add(self, session: GateSession) -> None:
        """Begin a session, which takes the place of an older one of the same client."""
        self.met_a_client = True
        peer = session.peer
        self._reputation.proved(network_of(peer.address))
        if before := self._by_name.get(peer.name):
            own = bool(session.instance) and session.instance == before.instance
            if before.keys:  # one of v0.7.2 knows neither signal
                before.send(Signal.RENEWED if own else Signal.REPLACED)
            before.close()
            self.session_lost(before, RENEWED if own else taken_over(peer.address))
        self._count(self._returns, peer.name, peer)
        self._by_name[peer.name] = session
        self._addresses[peer.address] += 1
        if not session.vouches:
            self._by_address[peer.address] = session
        self._events.client_connected(session)

    def _count(self, visits: Failures, key: str, peer: Peer) -> None:
        """Let a client pause that connects again and again: each time costs log lines and events, or CPU time."""
        if pause := visits.failed(key):
            self._throttle.warn(
                (peer.name, "returns"),
                f"client {peer}: connects again and again; its handshakes get no answer for {pause:g} s",
            )

    def turned_away(self, peer: Peer, reason: str, *, probe: bool) -> None:
        """Report a client that gets no session, because it does not fit or only asks whether it does.

        One that does not fit may be a recording if there is another one, and is only logged then. A client that is
        connected has been reloaded, and tries whether the server has been as well.
        """
        self._count(self._answers, _source(network_of(peer.address), peer.name), peer)
        present = self._by_name.get(peer.name)
        if probe:
            log.debug("client %s: asked whether the ends fit: %s", peer, reason or "yes")
        elif present and peer.instance and present.instance == peer.instance:
            log.debug("client %s: refused, while its former control channel is open: %s", peer, reason)
        elif present:
            self._throttle.warn((peer.name, peer.address, reason), f"refused client {peer}: {reason}")
        else:
            self._events.mismatched(peer.name, reason)

    def returns_too_often(self, name: str) -> bool:
        """Return whether a client gets no control channel for a while, because it has had so many."""
        return self._returns.pause(name) > 0

    def crowded(self, network: str, name: str) -> bool:
        """Return whether a client in a network gets no answers to handshakes.

        It has left too many unconfirmed, or connects too often.
        """
        if self.returns_too_often(name):
            return True
        source = _source(network, name)
        if self._answers.pause(source):
            return True
        return self._sources.size(source) >= _UNCONFIRMED_OF_CLIENT or self._lapsed.pause(source) > 0

    def await_confirmation(self, session: "SealedSession", warning: str) -> None:
        """Begin to read a session whose client has still to show that it has the keys; log ``warning``, if any."""
        if warning:
            ip = session.peer.address
            self._throttle.warn((ip, warning), f"client {session.peer}: {warning}")
        if len(self._unconfirmed) >= max(_MIN_UNCONFIRMED, len(self._credentials)):
            self._abandon(self._dispensable())
        self._sources.add(_source_of(session), session)
        self._unconfirmed[session] = self._loop.call_later(self._patience, self._abandon, session)
        session.start()

    def _dispensable(self) -> GateSession:
        """Return the oldest unconfirmed session of the client, and there of the network, that has the most."""
        name = _most_frequent(session.peer.name for session in self._unconfirmed)
        source = _most_frequent(_source_of(session) for session in self._unconfirmed if session.peer.name == name)
        return self._sources.oldest_of(source)

    def session_confirmed(self, session: "SealedSession") -> None:
        """Begin the session."""
        self._wait_no_longer(session)
        self.add(session)

    def session_lost(self, session: GateSession, reason: str, *, goodbye: bool = False) -> None:
        """Forget the session, and report the loss of one that had begun."""
        self._left(session)
        if session in self._unconfirmed:
            self._lapse(session)
        elif self._by_name.get(session.peer.name) is session:
            self._forget(session)
            self._events.client_lost(session, reason, goodbye=goodbye)

    def target_refused(self, session: GateSession, refusal: Refusal) -> None:
        """Report a target that the client does not dial."""
        self._events.target_refused(session, refusal.target, refusal.reason)

    def health_reported(self, session: GateSession, health: Health) -> None:
        """Report the outcome of a health check."""
        self._events.health_reported(session, health)

    def session_ended(self, session: GateSession, identity: bytes) -> None:
        """Report a session of the carrier that the client has ended."""
        self._events.session_ended(session, identity)

    def dismiss(self, name: str) -> None:
        """Close the control channel of the client with this name, and those that are not confirmed."""
        for session in [one for one in self._unconfirmed if one.peer.name == name]:
            self._wait_no_longer(session)
            self._close(session)
        if connected := self._by_name.get(name):
            self._forget(connected)
            self._close(connected)

    def close(self) -> None:
        """Close all control channels."""
        for unconfirmed in list(self._unconfirmed):
            self._abandon(unconfirmed)
        for name in list(self._by_name):
            self.dismiss(name)

    def _forget(self, session: GateSession) -> None:
        del self._by_name[session.peer.name]
        self._addresses[session.peer.address] -= 1
        if not self._addresses[session.peer.address]:
            del self._addresses[session.peer.address]
        if self._by_address.get(session.peer.address) is session:
            del self._by_address[session.peer.address]

    def _abandon(self, session: GateSession) -> None:
        self._lapse(session)
        self._close(session)

    def _lapse(self, session: GateSession) -> None:
        self._wait_no_longer(session)
        self._lapsed.failed(_source_of(session))

    def _wait_no_longer(self, session: GateSession) -> None:
        self._sources.discard(_source_of(session), session)
        self._unconfirmed.pop(session).cancel()

    def _close(self, session: GateSession) -> None:
        session.close()
        self._left(session)


def _source_of(session: GateSession) -> str:
    return _source(network_of(session.peer.address), session.peer.name)


def _source(network: str, name: str) -> str:
    return f"{name} at {network}"


def _most_frequent(texts: Iterable[str]) -> str:
    return Counter(texts).most_common(1)[0][0]


def warn_of_legacy(peer: Peer) -> None:
    """Log that a client is served although it is not protected."""
    log.warning(
        "client %s is not protected: it runs v0.7.2 or another version of this program, or an attacker in between "
        "prevents the handshake; its token and its users' bytes cross the line in clear. "
        'Run the same version of this program on both ends, then set security = "required" on both',
        peer,
    )

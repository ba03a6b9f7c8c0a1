"""The TCP side of local ports: each accepted connection is a user, who waits for a carrier."""

import asyncio
import logging
import socket
from typing import TYPE_CHECKING, Any

from backhaul.config import ServerConfig
from backhaul.net.closing import release
from backhaul.net.log_throttle import LogThrottle
from backhaul.net.poller import FAULT
from backhaul.relay.outcome import CLOSED, FAILED, NOT_CARRIED
from backhaul.transports.public_end import ServerTransport
from backhaul.transports.session import dial_time
from backhaul.transports.user import User

from .limiting import Limiting
from .news import News
from .outcomes import Outcomes, ServedUser, name
from .places import Places, Room
from .port import Port
from .ports_setup import preface_of
from .refusals import refused
from .timings import Timings
from .wait_limit import WaitLimit
from .waiting_users import Waiting, WaitingUsers

if TYPE_CHECKING:
    from .resources import TunnelResources

log = logging.getLogger("backhaul.server")


def record_of(user: User) -> ServedUser:
    """Return the record of a user of a dispatcher."""
    assert isinstance(user.done, ServedUser)  # noqa: S101 - see Outcomes.expect
    return user.done


class UserDispatcher:
    """Makes users of accepted connections, lets them wait for a carrier, and passes them to the transport."""

    def __init__(
        self,
        relay: "TunnelResources",
        transport: ServerTransport,
        outcomes: Outcomes,
        config: ServerConfig,
        *,
        limiting: Limiting,
        places: Places,
        news: News,
        timings: Timings,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._poller = relay.poller
        self.transport = transport
        self._outcomes = outcomes
        self._limiting = limiting
        self._places = places
        self._news = news
        self._throttle = LogThrottle(log)
        wait = WaitLimit(timings.user_patience, timings.longest_wait, lambda: dial_time(self.transport.session))
        self.waiting = WaitingUsers(
            wait, timings.restart, relay.poller.descriptors, expired=self._give_up, gone=self._drop
        )
        self.adopt(config)

    def adopt(self, config: ServerConfig) -> None:
        """Use another configuration for future users."""
        self._preface = preface_of(config)
        self._most_waiting = config.channel_size

    def accept(self, port: Port, sock: socket.socket, address: tuple[Any, ...]) -> None:
        """Take over a user of a port that leads to this client alone."""
        self.take(port, sock, address, self._places)

    def take(self, port: Port, sock: socket.socket, address: tuple[Any, ...], room: Room) -> None:
        """Take over a user of ``port``, who gets a place in ``room`` unless a limit objects."""
        limiting, traffic = self._limiting, port.traffic
        if not limiting.unlimited:
            if objection := limiting.objection(port, address, room):
                release(self._poller, sock, reset=True)
                refused(self._throttle, port, address, objection, self._news)
                return
            traffic = limiting.rates.traffic(port, address, room.client)
        done = self._outcomes.expect(port, address, room)
        user = User(sock, port.mapping.target, self._preface(port.mapping.bind_port, sock, address), traffic, done)
        port.total += 1
        port.open += 1
        self._carry(user, port, address)

    def waiting_in(self, room: Room) -> list[Waiting]:
        """Return the users with a place in ``room`` who wait, oldest first."""
        return [waiting for waiting in self.waiting.entries() if record_of(waiting.user).room is room]

    def take_over(self, former: "UserDispatcher", waiting: Waiting, room: Room) -> None:
        """Take over a user who waits for another client, which ``former`` serves; they get a place in ``room``."""
        user = waiting.user
        former.waiting.discard(user)
        record_of(user).change_client(self._outcomes, room)
        self._limiting.passed_on(room.client)
        user.traffic = self._limiting.rates.traffic(waiting.port, waiting.address, room.client)
        self._carry(user, waiting.port, waiting.address)

    def _carry(self, user: User, port: Port, address: tuple[Any, ...]) -> None:
        """Find a carrier for a user, or let them wait."""
        waiting = len(self.waiting)
        self.transport.expect_user(waiting + 1)
        if waiting or not self._assign(user):
            self._wait(user, port, address)
        else:
            self._outcomes.carried(port, 0.0)

    def client_came(self) -> None:
        """Announce the waiting users to a newly connected client."""
        for waiting in range(1, len(self.waiting) + 1):
            self.transport.expect_user(waiting)

    def carrier_ready(self) -> None:
        """Carry waiting users, oldest first, as long as there are carriers."""
        while self.waiting:
            waiting = self.waiting.oldest()
            if not self._assign(waiting.user):
                return
            self.waiting.carried(waiting.user)
            self._outcomes.carried(waiting.port, self._loop.time() - waiting.since)

    def reset(self, user: User) -> None:
        """Close a user who waits, because the administrator wants it."""
        self.waiting.discard(user)
        release(self._poller, user.sock, reset=True)
        user.done(CLOSED)

    def reset_all(self) -> None:
        """Close all users who wait, because they can't be carried any more."""
        for user in self.waiting:
            self.reset(user)

    def drop_all(self) -> None:
        """Close all users who wait, because the tunnel ends."""
        for user in self.waiting.clear():
            self._drop(user)

    def _assign(self, user: User) -> bool:
        """Pass the user to the transport; return False if they have to wait. An unexpected error resets the user."""
        try:
            return self.transport.assign(user)
        except Exception as error:  # noqa: BLE001 - an error must not affect other users
            release(self._poller, user.sock, reset=True)
            user.done(FAILED)
            self._poller.faults.fault(FAULT, error)
            return True

    def _wait(self, user: User, port: Port, address: tuple[Any, ...]) -> None:
        if len(self.waiting) >= self._most_waiting:
            self.carrier_ready()  # carriers may share more now
        if len(self.waiting) < self._most_waiting:
            self.waiting.add(user, port, address)
            return
        port.turned_away("waiting")
        self._throttle.warn(
            "full", f"user {name(address)} of port {port.name}: closed, channel_size users wait already"
        )
        self._drop(user)

    def _give_up(self, waiting: Waiting) -> None:
        user = waiting.user
        if record_of(user).room.pass_on(waiting):
            return
        waiting.port.dropped += 1
        why = "no free tunnel connection" if self.transport.session.connected else "no client is connected"
        who = f"user {name(waiting.address)} of port {waiting.port.name}, target {user.target}"
        self._throttle.warn(why, f"{who}: closed after {self._loop.time() - waiting.since:.2g} s: {why}")
        self._drop(user)

    def _drop(self, user: User) -> None:
        """Reset a user whom nothing carries: after a clean end they might believe that the target has their bytes."""
        release(self._poller, user.sock, reset=True)
        user.done(NOT_CARRIED)

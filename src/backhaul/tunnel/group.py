"""The ports of a group of clients, which share their users."""

import asyncio
import logging
import socket
from collections.abc import Sequence
from socket import SOCK_STREAM
from typing import Any

from backhaul.addresses import plain_ip
from backhaul.config import ServerConfig
from backhaul.config.groups import CONNECTION, ServedGroup
from backhaul.config.kinds import kinds_of
from backhaul.net.endpoints import Address, peer_of
from backhaul.net.listeners import Listeners
from backhaul.net.log_throttle import LogThrottle
from backhaul.net.poller import Poller
from backhaul.relay.flows import Flow
from backhaul.state import GroupState, MemberPhase, MemberState
from backhaul.wire.checks import Check, Health
from backhaul.wire.datagrams import Batch
from backhaul.wire.proxy import header_without_addresses

from .admission import Objection
from .balance import Balance, make_balance
from .news import News
from .port import Port
from .ports import Ports
from .ports_setup import user_options
from .server import ServerTunnel
from .timings import Timings
from .udp_ports import UdpListener, room_of
from .waiting_users import Waiting

log = logging.getLogger("backhaul.server")

_STUCK = "no free tunnel connection"


class Member:
    """A client of a group, and its users of this group."""

    def __init__(self, group: "Group", tunnel: ServerTunnel) -> None:
        self._group = group
        self.tunnel = tunnel
        self.position = 0
        self.users = 0
        self.total = 0
        """Users so far."""
        self.refused = 0
        """Users whom its limits refused, because no other member took them."""
        self._check: Check | None = None
        self._number = 0  # of that health check
        self.in_log = False
        """True if the log has its problem, and not yet the end of that."""
        self.problem = ""
        """The reason why its target is not healthy; empty if it is, or as long as that is unknown."""

    @property
    def ready(self) -> bool:
        """True if it may get users."""
        return self.tunnel.ready and not (self.problem or self.tunnel.stuck)

    @property
    def expected(self) -> bool:
        """True if it may get users now, or users may wait for it."""
        return not self.problem and not self.tunnel.ports.refusing

    def examine(self, check: Check | None) -> None:
        """Let the client make this health check from now on, or none; what the same one has found stays."""
        if check == self._check:
            return
        self.tunnel.health.discard(self._number)
        self._check, self.problem = check, ""
        if check:
            self._number = self.tunnel.health.add(check, self._told)

    def _told(self, health: Health) -> None:
        self.problem = "" if health.healthy else health.reason or "unhealthy"
        self._group.health_changed(self)

    @property
    def client(self) -> str:
        """The name of the client."""
        return self.tunnel.client

    @property
    def full(self) -> bool:
        """True until one of the client's users has left."""
        return self.tunnel.places.full

    def objection(self, ip: str) -> Objection | None:
        """Return why a new user of this client and address is refused, if so."""
        return self.tunnel.places.objection(ip)

    def pass_on(self, waiting: Waiting) -> bool:
        """Let another member serve a user who has waited here for too long; return whether one does."""
        return self._group.pass_on(self, waiting)

    def enter(self) -> None:
        """Count a new user."""
        self.tunnel.places.enter()
        self.users += 1
        self.total += 1
        self._group.moved(self)

    def leave(self) -> None:
        """Count the end of a user."""
        self.tunnel.places.leave()
        self.users -= 1
        self._group.moved(self)

    def state(self) -> MemberState:
        """Return the state of this member."""
        problem = self.problem or (_STUCK if self.tunnel.stuck else "")
        return MemberState(self.tunnel.client, self.users, self._phase, problem, self.total, self.refused)

    @property
    def _phase(self) -> MemberPhase:
        if not self.tunnel.connected:
            return "not connected"
        if self.tunnel.entrance.draining:
            return "draining"
        return "unhealthy" if self.problem or self.tunnel.stuck else "ready"


class Group:
    """Owns the ports; each user goes to the tunnel of one member, which counts and carries them as its own."""

    def __init__(
        self,
        config: ServerConfig,
        group: ServedGroup,
        poller: Poller,
        listeners: Listeners,
        *,
        timings: Timings,
        news: News,
    ) -> None:
        self._group = group
        self._check = _check_of(config, group)
        self._poller = poller
        self._listeners = listeners
        self._throttle = LogThrottle(log)
        self._timings = timings
        self._members: list[Member] = []
        self._by_tunnel: dict[ServerTunnel, Member] = {}
        self._balance: Balance[Member] = make_balance(group.balance, self._members)
        self._awaited: dict[Member, None] = {}  # users may wait for their clients to return
        self._full: dict[Member, None] = {}  # not in the balance, because they have reached their maximum of users
        self._last = 0  # the position of the member that was lost last, and may return first
        self.ports = Ports(
            poller,
            listeners,
            user_options(config),
            self._user_came,
            self._listen,
            served=kinds_of(config),
            timings=timings,
            news=news,
        )

    def start(self) -> None:
        """Listen for users."""
        self.ports.add(self._group.ports)

    def adopt(self, config: ServerConfig, group: ServedGroup, tunnels: Sequence[ServerTunnel]) -> None:
        """Use another configuration, and share users among these tunnels from now on."""
        for member in list(self._full):  # it may have more users now
            self._look(member.tunnel)
        self.ports.set_options(user_options(config))
        self.ports.widen()
        before = self._group, self._check, [member.tunnel for member in self._members]
        self._group, self._check = group, _check_of(config, group)
        if before != (self._group, self._check, tunnels):
            self.serve(tunnels)

    def serve(self, tunnels: Sequence[ServerTunnel]) -> None:
        """Share users among these tunnels from now on; users in flight stay."""
        self._forget()
        before = self._by_tunnel
        self._members = [before.get(tunnel) or Member(self, tunnel) for tunnel in tunnels]
        self._by_tunnel = {member.tunnel: member for member in self._members}
        self._balance = make_balance(self._group.balance, self._members)
        self._full.clear()
        for position, member in enumerate(self._members):
            member.position = position
            member.examine(self._check)
            member.tunnel.watchers.append(self._look)
        for tunnel in before.keys() - self._by_tunnel.keys():
            before[tunnel].examine(None)
            self.ports.loosen(before[tunnel])
        for tunnel in tunnels:
            self._look(tunnel)
        self._last = 0

    def state(self) -> GroupState:
        """Return the state of this group."""
        return GroupState(
            name=self._group.name,
            balance=self._group.balance,
            health=self._group.health,
            health_interval=self._group.health_interval,
            refusing=self.ports.refusing,
            members=tuple(member.state() for member in self._members),
            ports=tuple(port.state() for port in self.ports.all.values()),
        )

    async def hand_over(self) -> None:
        """Leave future users to the process that shares the ports."""
        self.ports.close_datagrams()
        await asyncio.sleep(self._timings.handshakes)
        self.ports.finish()

    def health_changed(self, member: Member) -> None:
        """Give users to a healthy member, and none to an unhealthy one."""
        name, group = member.tunnel.client, self._group.name
        if member.problem:
            line = f"client {name} of group {group} is unhealthy, and gets no users: {member.problem}"
            member.in_log = self._throttle.warn(name, line) or member.in_log
        elif member.in_log:
            member.in_log = False
            log.info("client %s of group %s is healthy again", name, group)
        self._look(member.tunnel)

    def pass_on(self, member: Member, waiting: Waiting) -> bool:
        """Let another member serve a user who has waited for too long; return whether one does."""
        if member.tunnel.connected:
            member.tunnel.get_stuck()
        other = self._free(plain_ip(waiting.address))
        if other:
            other.tunnel.users.take_over(member.tunnel.users, waiting, other)
        return other is not None

    def moved(self, member: Member) -> None:
        """Note that a member has another number of users."""
        self._balance.moved(member)

    def close(self) -> None:
        """Close the ports; users in flight stay."""
        for member in self._members:
            member.examine(None)
        self._forget()
        self.ports.close()

    def _forget(self) -> None:
        while self._members:
            member = self._members.pop()
            member.tunnel.watchers.remove(self._look)

    def _look(self, tunnel: ServerTunnel) -> None:
        """See whether a member may get users, and whether there is one to wait for."""
        member = self._by_tunnel[tunnel]
        self._full.pop(member, None)
        if tunnel.connected and not tunnel.makes_checks:
            member.problem = ""
        if member.ready:
            self._balance.add(member)
        else:
            self._balance.discard(member)
            self._last = member.position
            if tunnel.waiting:
                self._awaited[member] = None
            if not tunnel.absence.sessions_stay:
                self.ports.loosen(member)
        self._move_waiting()
        refuse = not any(one.expected for one in self._members)
        if refuse != self.ports.refusing:
            self._turn(refuse=refuse)

    def _move_waiting(self) -> None:
        """Let members that are there serve the users who wait for others."""
        for member in list(self._awaited):
            if not member.tunnel.connected:
                self._move_from(member)
            if member.ready or not member.tunnel.waiting:
                del self._awaited[member]

    def _move_from(self, member: Member) -> None:
        users = member.tunnel.users
        if member.tunnel.flows.waiting:
            self.ports.loosen(member)
        for waiting in users.waiting_in(member):
            if other := self._free(plain_ip(waiting.address)):
                other.tunnel.users.take_over(users, waiting, other)

    def _turn(self, *, refuse: bool) -> None:
        if refuse:
            log.info("users of group %s are refused until one of its clients takes them", self._group.name)
            self.ports.refuse()
        else:
            self.ports.admit()

    def _user_came(self, port: Port, sock: socket.socket, address: tuple[Any, ...]) -> None:
        member = self._member_for(plain_ip(address))
        member.tunnel.users.take(port, sock, address, member)

    def _listen(self, port: Port) -> UdpListener:
        return UdpListener(self._poller, self._listeners, port, self._datagrams_came)

    def _datagrams_came(self, listener: UdpListener, address: Address, batch: Batch) -> None:
        """Begin a flow for a new user, or for one whose flow may move, unless that stays."""
        ip, flow = plain_ip(peer_of(address)), listener.loose.get(address)
        if flow and not self._balance.choose(ip):  # none is available, so that of the flow may still be the best one
            flow.from_near(batch)
        elif flow and self._is_ready(flow):
            listener.tighten(address)  # its member has returned
            flow.from_near(batch)
        else:
            if flow:
                flow.close()
            member = self._member_for(ip)
            member.tunnel.flows.take(listener, address, batch, member)

    def _is_ready(self, flow: Flow) -> bool:
        """Return whether the member of a flow still belongs to the group, and may get users."""
        room = room_of(flow)
        return isinstance(room, Member) and self._by_tunnel.get(room.tunnel) is room and room.ready

    def _member_for(self, ip: str) -> Member:
        """Return the member for a user, the next one while the first choice may have no more users.

        Without any the user waits for the member that was lost last.
        """
        return self._free(ip) or self._crowded(ip) or self._expected(ip)

    def _free(self, ip: str) -> Member | None:
        """Return the member that takes a user; None if there is none."""
        spent: list[Member] = []  # no event tells when they have bytes again, and others may have an allowed address
        found = None
        while not found and (member := self._balance.choose(ip)):
            if not member.objection(ip):
                found = member
                continue
            self._balance.discard(member)
            if member.full:
                self._full[member] = None
            else:
                spent.append(member)
        for member in spent:
            self._balance.add(member)
        return found

    def _crowded(self, ip: str) -> Member | None:
        """Return a member that will refuse the user, as all others would; None if there is none at all."""
        member = self._balance.choose(ip) or next(iter(self._full), None)
        if member:
            member.refused += 1
        return member

    def _expected(self, ip: str) -> Member:
        """Return the member to wait for: the one that was lost last, unless others alone may get the user."""
        last = self._members[self._last]
        expected = [one for one in (last, *self._members) if one.expected] or [last]
        member = next((one for one in expected if not one.objection(ip)), expected[0])
        self._awaited[member] = None
        return member


def _check_of(config: ServerConfig, group: ServedGroup) -> Check | None:
    """Return the health check of a group's clients: of the target of its first port for TCP; None without one."""
    kinds = kinds_of(config)
    first = next((mapping for mapping in group.ports if SOCK_STREAM in kinds.of(mapping)), None)
    if not group.health or not first:
        return None
    path = group.health.removeprefix("http:") if group.health != CONNECTION else ""
    version = config.proxied.version(first.bind_port)
    preface = header_without_addresses(version) if version else b""
    times = group.health_interval, group.health_rise, group.health_fall
    return Check(0, first.target, path, *times, preface=preface)

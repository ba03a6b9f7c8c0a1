"""The UDP socket of the public end, which the tunnels of all clients share.

A datagram belongs to the tunnel at its source address. An announcement is found by its content instead: the first bytes
of a sealed one lie in a block of numbers that only one session has, and v0.7.2 announces with the client's own token.
So each datagram costs a look-up or two, however many clients there are.
"""

from collections.abc import Iterable
from typing import Final

from backhaul.net.endpoints import Address
from backhaul.net.poller import Poller
from backhaul.net.udp import Counters, DatagramSocket
from backhaul.transports.auth import Credentials
from backhaul.transports.settings import ServerSettings
from backhaul.wire.announcements import block_of
from backhaul.wire.datagrams import Batch

from .udp_dialect import Announcing
from .udp_tunnel import Tunnel, TunnelOwner


class _Nobody:
    """Takes datagrams that no client has sent."""

    sizes = frozenset[int]()

    def take(self, datagram: bytes | memoryview, address: Address) -> bool:
        """Return False: it is not a message."""
        del datagram, address
        return False

    def introduce(self, datagram: bytes | memoryview, address: Address) -> None:
        """Do nothing: without a proof there is no answer."""


_NOBODY: Final = _Nobody()


class Announcers:
    """The sessions whose announcements may arrive."""

    def __init__(self, credentials: Credentials) -> None:
        self.credentials = credentials
        self.sizes: frozenset[int] = frozenset()
        """The sizes of announcements: datagrams of any other size are none."""
        self._blocks: dict[Announcing, list[int]] = {}
        self._by_block: dict[int, Announcing] = {}
        self._by_name: dict[str, Announcing] = {}  # those of v0.7.2, which show a token

    def enter_blocks(self, blocks: Iterable[int], session: Announcing) -> None:
        """Expect announcements of a session whose numbers lie in these blocks, and no more in those before."""
        self._leave_blocks(session)
        self._blocks[session] = [block for block in blocks if self._by_block.setdefault(block, session) is session]
        self.sizes = self.sizes.union(session.sizes)

    def enter_token(self, client: str, session: Announcing) -> None:
        """Expect announcements of a v0.7.2 client, which show one of its tokens."""
        self._by_name[client] = session
        self.sizes = self.sizes.union(session.sizes)

    def leave(self, client: str, session: Announcing) -> None:
        """Expect no more announcements of a client's session."""
        self._leave_blocks(session)
        if self._by_name.get(client) is session:
            del self._by_name[client]

    def find(self, datagram: bytes | memoryview) -> Announcing:
        """Return the session that may have announced a tunnel with ``datagram``."""
        if len(datagram) not in self.sizes:
            return _NOBODY
        session = self._by_block.get(block_of(datagram))
        if session:
            return session
        credential = self.credentials.find(datagram) if self._by_name else None
        return self._by_name.get(credential.name, _NOBODY) if credential else _NOBODY

    def take(self, datagram: bytes | memoryview, address: Address) -> bool:
        """Act on a message about tunnels of any client; return False for a datagram of a flow."""
        return self.find(datagram).take(datagram, address)

    def _leave_blocks(self, session: Announcing) -> None:
        for block in self._blocks.pop(session, []):
            del self._by_block[block]


class TunnelSocket:
    """Owns the socket, and knows the tunnel at each address.

    It outlives a reload that leaves the address as it is, and with it the flows of users. After ``close`` it serves
    those that it has until the last one ends, also beside another transport.
    """

    def __init__(self, settings: ServerSettings, poller: Poller) -> None:
        self._poller = poller
        self.announcers = Announcers(settings.credentials)
        self._tunnels: dict[Address, Tunnel] = {}
        self._leaving = False
        self._socket: DatagramSocket | None = None
        self.address = settings.bind_host, settings.bind_port
        """Host and port, as configured."""

    @property
    def is_open(self) -> bool:
        """True until it is closed, and the last flow has ended."""
        return self._socket is not None

    @property
    def leaving(self) -> bool:
        """True after ``close``, until it is opened again."""
        return self._leaving

    def open(self, settings: ServerSettings) -> None:
        """Open the socket, unless it is open, and use these settings, of the same address; raises OSError."""
        self._leaving = False
        self.announcers.credentials = settings.credentials
        if not self._socket:
            sock = settings.listeners.datagrams(*self.address)
            self._socket = DatagramSocket(self._poller, sock, self._received, Counters())

    def close(self) -> None:
        """Close the socket when the last flow has ended."""
        self._leaving = True
        for tunnel in self._tunnels.values():
            tunnel.doubt()
        self._close_if_unused()

    def end(self) -> None:
        """Close the socket at once; flows end with their tunnels, and a user's next datagram begins another one."""
        for tunnel in list(self._tunnels.values()):
            tunnel.end()
        self.close()

    def transmit(self, batch: Batch, address: Address) -> None:
        """Send to a client."""
        if self._socket:
            self._socket.send(batch, address)

    def knows(self, tunnels: TunnelOwner, address: Address) -> bool:
        """Return whether a tunnel of these is at this address."""
        tunnel = self._tunnels.get(address)
        return tunnel is not None and tunnel.owner is tunnels

    def tunnels_of(self, owner: TunnelOwner) -> list[Tunnel]:
        """Return the tunnels of a client."""
        return [tunnel for tunnel in self._tunnels.values() if tunnel.owner is owner]

    def settle(self, tunnel: Tunnel, address: Address) -> bool:
        """Give an address to a tunnel, which may have had another one.

        A NAT may give one client's address to another, but nobody can prove that. So another client's tunnel keeps an
        address until it is silent; this returns False then.
        """
        before = self._tunnels.get(address)
        if before and before is not tunnel:
            if before.owner is not tunnel.owner and not before.silent:
                return False
            before.end()
        if self._tunnels.get(tunnel.address) is tunnel:
            del self._tunnels[tunnel.address]
        tunnel.address = address
        self._tunnels[address] = tunnel
        return True

    def forget(self, tunnel: Tunnel) -> None:
        """Forget a closed tunnel."""
        if self._tunnels.get(tunnel.address) is tunnel:
            del self._tunnels[tunnel.address]
        self._close_if_unused()

    def _received(self, batch: Batch, address: Address) -> None:
        tunnel = self._tunnels.get(address)
        if tunnel and tunnel.flow:
            tunnel.received(batch)
            return
        for datagram in batch:
            self.announcers.find(datagram).introduce(datagram, address)

    def _close_if_unused(self) -> None:
        if self._leaving and self._socket and not self._tunnels:
            self._socket.close()
            self._socket = None

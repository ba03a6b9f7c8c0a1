"""UDP sockets read and written in batches, and a queue of waiting datagrams.

Linux returns several datagrams with one system call if it has coalesced them (UDP_GRO), and cuts one large write into
datagrams of equal size (UDP_SEGMENT). Each costs a seventh of single datagrams.
"""

import errno
import socket
import struct
import sys
from collections import deque
from collections.abc import Callable, Hashable
from weakref import WeakValueDictionary

from backhaul.wire.datagrams import Batch

from .buffers import shared_buffer
from .endpoints import NO_SUCH_SOURCE, ROOM, UDP_GRO, Address, Endpoint, interpret, learns_destinations
from .options import offer
from .poller import WOULD_BLOCK, Poller

Received = Callable[[Batch, Address], None]

QUEUE_BYTES = 1 << 18  # of one flow: 200 datagrams of a VPN, 20 ms at 100 Mbit/s
_PART = 16  # a queue may take this part of the room that is left, so many of them take less each
_LEAST = 1 << 11  # bytes that a queue may take in any case: a new flow's first datagram waits for a moment in one
_ENTRY = 64  # bytes of overhead of a queued datagram, so that empty ones are bounded too

SOCKET_BUFFER = 1 << 22  # bytes requested; the kernel grants at most net.core.rmem_max and wmem_max
_LARGEST = 1 << 16  # bytes: the most that one read returns
_READS = 64  # per wake-up: enough to empty a burst, few enough to let other sockets run
# A read that finds nothing costs more than one that finds a datagram, and delays the datagram read before (40 of 100 µs
# of an echo over four such sockets). Therefore a socket with single datagrams is read twice only now and then.
_CURIOSITY = 8  # wake-ups
_IN = shared_buffer(4 * _LARGEST)  # shared: a batch is processed before the next one is read

_WHOLE = [_IN]

_OFFLOAD = sys.platform == "linux"
_UDP_SEGMENT = 103  # <linux/udp.h>; missing in the socket module
# By default Linux forbids routers to fragment datagrams that fit the MTU of the first link. Where the path has a
# smaller one, and ICMP is filtered, they vanish: those of a WireGuard that would have let routers fragment them.
_IP_MTU_DISCOVER, _IP_PMTUDISC_DONT = 10, 0  # <linux/in.h>; missing in the socket module
_NOT_SEGMENTED = frozenset({errno.EINVAL, errno.EMSGSIZE, errno.EIO})  # above the MTU, or not supported by the device
_MOST_SEGMENTS = 64  # UDP_MAX_SEGMENTS of Linux before 6.9
_MOST_SEGMENTED = 65487  # bytes: 65535 less the headers of IPv6 and UDP


class Counters:
    """The counters of one port's flows, plain integers."""

    __slots__ = ("congested", "dropped", "flows", "total")

    def __init__(self) -> None:
        self.flows = 0  # alive now
        self.total = 0  # since the start
        self.dropped = 0  # datagrams
        self.congested = 0  # times that a flow's datagrams began to be late


class QueueRoom:
    """The bytes of all queues of datagrams together: ``limit`` and a datagram for each, and as many beside them.

    If the queues of one owner fill it, each other one still has an equal share, of as many bytes again for all.
    """

    __slots__ = ("_changed", "_shares", "held", "limit", "owners")

    def __init__(self, limit: int, changed: Callable[[int], None] = lambda _held: None) -> None:
        """Call ``changed`` with the number of bytes whenever that has changed."""
        self._changed = changed
        self._shares: WeakValueDictionary[Hashable, RoomShare] = WeakValueDictionary()
        self.limit = limit
        self.held = 0
        self.owners = 0
        """The number of owners who hold bytes."""

    def of(self, owner: Hashable) -> "RoomShare":
        """Return the share of an owner, such as the transport of a client."""
        share = self._shares.get(owner)
        if share is None:
            share = self._shares[owner] = RoomShare(self)
        return share

    def hold(self, more: int) -> None:
        """Note that a queue holds so many bytes more, or fewer."""
        self.held += more
        self._changed(self.held)


class RoomShare:
    """The bytes of the queues of one owner."""

    __slots__ = ("__weakref__", "_held", "_room")

    def __init__(self, room: QueueRoom) -> None:
        self._room = room
        self._held = 0

    @property
    def left(self) -> int:
        """The bytes that are left for queues, of the room or of this share; a negative number if there are none."""
        return max(self._room.limit - self._room.held, self._own - self._held)

    @property
    def spent(self) -> bool:
        """True if there is no room beside the queues either."""
        return self._room.held > 2 * self._room.limit and self._held > 2 * self._own

    def hold(self, more: int) -> None:
        """Note that a queue holds so many bytes more, or fewer."""
        before = self._held
        self._held += more
        self._room.owners += bool(self._held) - bool(before)
        self._room.hold(more)

    @property
    def _own(self) -> int:
        return self._room.limit // (self._room.owners + (not self._held))


class DatagramQueue:
    """A queue of datagrams, at most ``limit`` bytes, and fewer if others need room: new ones push out the oldest."""

    __slots__ = ("_beside", "_counters", "_datagrams", "_held", "_room", "limit", "size")

    def __init__(self, counters: Counters, limit: int = QUEUE_BYTES, room: RoomShare | None = None) -> None:
        """Without ``room`` the queue is bounded by itself alone."""
        self._datagrams: deque[bytes] | None = None  # most queues are never used, and a deque is not small
        self.size = 0  # bytes, the overhead of each datagram included
        self._counters = counters
        self._room = room
        self._held = 0  # bytes that the room knows of
        self._beside = 0
        self.limit = limit

    def __bool__(self) -> bool:
        return bool(self._datagrams)

    def send(self, batch: Batch) -> None:
        """Append copies."""
        if self._datagrams is None:
            self._datagrams = deque()
        for datagram in batch:
            self._datagrams.append(bytes(datagram))
            self.size += len(datagram) + _ENTRY
        most = min(self.limit, max(self._room.left // _PART, _LEAST)) if self._room else self.limit
        while self._datagrams and self.size > most:
            self._pop(self._datagrams)
            self._counters.dropped += 1
        self._weigh()

    def take(self) -> list[bytes]:
        """Remove and return all datagrams, oldest first."""
        taken = list(self._datagrams or ())
        self._datagrams = None
        self.size = 0
        self._weigh()
        return taken

    def take_some(self, size: int) -> list[bytes]:
        """Remove and return the oldest datagrams, oldest first, until they have ``size`` bytes with their overhead."""
        waiting, left = self._datagrams, self.size - size
        if waiting is None or left <= 0:
            return self.take()
        taken = []
        while self.size > left:
            taken.append(self._pop(waiting))
        self._weigh()
        return taken

    def keep_beside(self, count: int) -> bool:
        """Count bytes that have left the queue and wait after it; return whether there is room for them."""
        if count != self._beside:
            self._beside = count
            self._weigh()
        return not (count and self._room and self._room.spent)

    def _weigh(self) -> None:
        """Tell the room of a change."""
        if self._room and (more := self.size + self._beside - self._held):
            self._held += more
            self._room.hold(more)

    def _pop(self, waiting: deque[bytes]) -> bytes:
        datagram = waiting.popleft()
        self.size -= len(datagram) + _ENTRY
        return datagram

    def close(self) -> None:
        """Drop the remaining datagrams."""
        self._beside = 0
        self._counters.dropped += len(self.take())


class DatagramSocket:
    """Owns a UDP socket, connected or not; passes datagrams to ``received(batch, address)``, in order.

    Datagrams that the kernel does not accept at once are dropped and counted: its buffer is the queue. Raises OSError,
    with the socket closed, if it can't be watched.
    """

    __slots__ = ("_busy", "_counters", "_endpoints", "_poller", "_received", "_sock", "_wakeups", "most_equal")

    def __init__(self, poller: Poller, sock: socket.socket, received: Received, counters: Counters) -> None:
        self._poller = poller
        self._sock = sock
        self._received = received
        self._counters = counters
        self._endpoints = learns_destinations(sock)  # addresses are endpoints, with the destination
        self._wakeups = 0
        self._busy = False  # the last wake-up brought more than one read
        self.most_equal = _MOST_SEGMENTED if _OFFLOAD else 0  # bytes of a datagram: larger ones leave one by one
        try:
            poller.own(sock, self._readable, self)
        except OSError:  # ENOSPC, ENOMEM: epoll_ctl(2); an open socket would keep its port from being opened again
            sock.close()
            raise

    def abort(self) -> None:
        """Do nothing: an error costs the datagrams of one read, and the senders of others must not suffer."""

    @property
    def address(self) -> Address:
        """The local address."""
        return self._sock.getsockname()

    def send(self, batch: Batch, address: Address = None) -> None:
        """Send every datagram to ``address``, or to the peer of a connected socket."""
        if len(batch) == 1:
            self._send_single(batch[0], address)
            return
        start, end = 0, len(batch)
        while start < end:
            stop = self._equal_run(batch, start, end)
            self._send_run(batch[start:stop], address)
            start = stop

    def close(self) -> None:
        """Close the socket; it is forgotten first, because epoll would keep reporting a copy of the service manager."""
        if self._sock.fileno() >= 0:
            self._poller.forget(self._sock)
            self._sock.close()

    def _equal_run(self, batch: Batch, start: int, end: int) -> int:
        """Return the end of the run of datagrams that can leave with the first one."""
        size = len(batch[start])
        if not 0 < size <= self.most_equal:
            return start + 1
        end = min(end, start + min(_MOST_SEGMENTS, _MOST_SEGMENTED // size))
        while start < end and len(batch[start]) == size:
            start += 1
        return start

    def _send_run(self, run: Batch, address: Address) -> None:
        if len(run) == 1:
            self._send_single(run[0], address)
            return
        try:
            self._send_segmented(run, address)
        except WOULD_BLOCK:
            self._counters.dropped += len(run)
        except OSError as error:
            left = [self._send_single(datagram, address) for datagram in run]
            if error.errno in _NOT_SEGMENTED and all(left):
                self.most_equal = min(self.most_equal, len(run[0]) - 1)

    def _send_segmented(self, run: Batch, address: Address) -> None:
        segment = (socket.IPPROTO_UDP, _UDP_SEGMENT, struct.pack("=H", len(run[0])))
        if self._endpoints:
            peer, source = address
            self._sock.sendmsg(run, [segment, source], 0, peer)
        else:
            self._sock.sendmsg(run, [segment], 0, address)

    def _send_single(self, datagram: bytes | memoryview, address: Address) -> bool:
        """Send a datagram, or drop and count it; return whether it left from the address that the peer expects."""
        for _ in range(2):
            try:
                if address is None:
                    self._sock.send(datagram)
                elif self._endpoints:
                    peer, source = address
                    self._sock.sendmsg((datagram,), (source,), 0, peer)
                else:
                    self._sock.sendto(datagram, address)
            except WOULD_BLOCK:
                break
            except OSError as error:  # unreachable or too large; or an ICMP error of an earlier one was reported here
                if self._endpoints and error.errno in NO_SUCH_SOURCE:
                    self._send_from_anywhere(datagram, address)
                    return False
            else:
                return True
        self._counters.dropped += 1
        return False

    def _send_from_anywhere(self, datagram: bytes | memoryview, endpoint: Endpoint) -> None:
        """Let the kernel choose the source, because the former local address has been removed."""
        try:
            self._sock.sendto(datagram, endpoint[0])
        except OSError:
            self._counters.dropped += 1

    def _readable(self) -> None:
        self._wakeups += 1
        if self._busy or not self._wakeups % _CURIOSITY:
            self._read_many()
            return
        try:
            count, ancillary, _, address = self._sock.recvmsg_into(_WHOLE, ROOM)
        except OSError:  # no datagram, or an ICMP error of an earlier one, which does not affect the socket
            return
        if ancillary:
            size, address = interpret(ancillary, count, address)
            self._received(_cut(0, count, size), address)
        else:
            self._received([_IN[:count]], address)

    def _read_many(self) -> None:
        batch: list[memoryview] = []
        source, start, reads = None, 0, 0
        for _ in range(_READS):
            try:
                count, ancillary, _, address = self._sock.recvmsg_into([_IN[start:]], ROOM)
            except WOULD_BLOCK:
                break
            except OSError:  # an ICMP error of an earlier datagram, which does not affect the socket
                continue
            size, address = interpret(ancillary, count, address) if ancillary else (count, address)
            if batch and address != source:
                self._poller.together.begin()
                self._received(batch, source)
                if self._sock.fileno() < 0:
                    return
                batch = []
            source = address
            reads += 1
            batch += _cut(start, count, size)
            start += count
            if len(_IN) - start < _LARGEST:
                break
        self._busy = reads > 1
        if batch:
            self._received(batch, source)


def _cut(start: int, count: int, size: int) -> list[memoryview]:
    """Return the datagrams of one read: one, or several of the given size (the last may be shorter)."""
    end = start + count
    if size >= count:
        return [_IN[start:end]]
    return [_IN[at : min(at + size, end)] for at in range(start, end, size)]


def prepare(sock: socket.socket) -> None:
    """Set the options of a UDP socket for bursts, as far as the system supports them."""
    sock.setblocking(False)
    offer(sock, socket.SOL_SOCKET, socket.SO_RCVBUF, SOCKET_BUFFER)
    offer(sock, socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BUFFER)
    if _OFFLOAD:
        offer(sock, socket.IPPROTO_IP, _IP_MTU_DISCOVER, _IP_PMTUDISC_DONT)
        try:
            sock.setsockopt(socket.IPPROTO_UDP, UDP_GRO, 1)
        except OSError:  # Linux before 5.0: datagrams arrive one by one
            return

"""Accepting of connections and its failures. (A real lack of descriptors is tested in tests/faults.)"""

import asyncio
import contextlib
import errno
import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.exhausted import ExhaustedPoller
from tests.support.net import HOST, Peer, free_port, until
from tests.support.tunnel import Net

from backhaul.net.listener import Acceptor
from backhaul.net.poller import Owner, Poller
from backhaul.net.pollers import make_poller
from backhaul.net.sockets import SocketOptions, listen

pytestmark = pytest.mark.both_loops


class Fragile(socket.socket):
    """A listener whose next accepts fail with these errors."""

    errors: list[int]

    def accept(self) -> tuple[socket.socket, Any]:
        if self.errors:
            number = self.errors.pop(0)
            raise OSError(number, os.strerror(number))
        return super().accept()


class Reception:
    """Keeps accepted connections and reported errors."""

    def __init__(self, net: Net, poller: Poller) -> None:
        self.net = net
        self.poller = poller
        self.guests: list[Peer] = []
        self.refused: list[int | None] = []
        self.clumsy = False
        self.closing = False
        self.port = free_port()
        with listen(HOST, self.port, SocketOptions()) as plain:
            self.listener = Fragile(fileno=os.dup(plain.fileno()))
        self.listener.errors = []
        self.listener.setblocking(False)
        self.acceptor = Acceptor(self.poller, self.listener, self._accepted, self._refused)

    def _accepted(self, sock: socket.socket, address: Any) -> None:  # noqa: ANN401 - as the socket module has it
        if self.clumsy:
            raise RuntimeError("an error of ours")
        if self.closing:
            self.acceptor.close()
        assert address == sock.getpeername()
        self.guests.append(self.net.keep(Peer(sock)))

    def _refused(self, error: OSError) -> None:
        self.refused.append(error.errno)


@pytest.fixture
async def reception(net: Net) -> AsyncIterator[Reception]:
    reception = Reception(net, make_poller())
    yield reception
    reception.acceptor.close()
    reception.poller.close()


async def test_every_connection_is_accepted(reception: Reception) -> None:
    for _ in range(200):
        await reception.net.dial(reception.port)
    await until(lambda: len(reception.guests) == 200)
    assert not any(guest.sock.getblocking() for guest in reception.guests)


@pytest.mark.parametrize("number", [errno.ECONNABORTED, errno.EPROTO, errno.EINTR, errno.EPERM])
async def test_an_error_of_one_connection_affects_no_other(reception: Reception, number: int) -> None:
    reception.listener.errors = [number] * 3
    await reception.net.dial(reception.port)
    await until(lambda: reception.guests)
    assert reception.refused == []


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM])
async def test_without_resources_one_connection_is_closed_for_the_others(reception: Reception, number: int) -> None:
    reception.listener.errors = [number]
    unlucky = await reception.net.dial(reception.port)
    assert await unlucky.closed()
    assert reception.refused == [number]
    await reception.net.dial(reception.port)
    await until(lambda: reception.guests)


def out_of_descriptors(*_: object) -> int:
    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


async def test_without_a_spare_descriptor_accepting_pauses(
    reception: Reception, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(os, "open", out_of_descriptors)
        reception.listener.errors = [errno.EMFILE] * 2  # the second for the connection to be closed
        await reception.net.dial(reception.port)
        await until(lambda: reception.refused)
        assert not reception.guests
    await until(lambda: reception.guests)


def descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


async def test_each_further_port_takes_one_descriptor(reception: Reception) -> None:
    before = descriptors()
    acceptors = [
        Acceptor(reception.poller, listen(HOST, 0, SocketOptions()), lambda sock, _: sock.close(), lambda _: None)
        for _ in range(20)
    ]
    assert descriptors() == before + len(acceptors)
    for acceptor in acceptors:
        acceptor.close()


async def test_users_leave_some_descriptors_for_others(reception: Reception, caplog: pytest.LogCaptureFixture) -> None:
    with listen(HOST, port := free_port(), SocketOptions()) as listener:
        end = os.dup(listener.fileno())  # the lowest free number
        os.close(end)
    accepted: list[socket.socket] = []
    refused: list[int | None] = []
    acceptor = Acceptor(
        reception.poller,
        listen(HOST, port, SocketOptions()),
        lambda sock, _: accepted.append(sock),
        lambda error: refused.append(error.errno),
        end=lambda: end,
    )
    assert await (await reception.net.dial(port)).closed()
    assert not accepted
    assert refused == [errno.EMFILE]
    assert not caplog.text
    acceptor.close()


async def test_a_lack_at_one_port_leaves_the_spare_descriptor_to_the_others(reception: Reception) -> None:
    other = Reception(reception.net, reception.poller)
    for port in (reception, other, reception):
        port.listener.errors = [errno.EMFILE]
        assert await (await port.net.dial(port.port)).closed()
        assert port.refused.pop() == errno.EMFILE
    other.acceptor.close()


async def test_a_callback_may_close_the_listener(reception: Reception) -> None:
    reception.closing = True
    users = (reception.net.dial(reception.port) for _ in range(3))
    await asyncio.gather(*users, return_exceptions=True)
    await until(lambda: reception.listener.fileno() < 0)
    with pytest.raises(ConnectionRefusedError):
        await reception.net.dial(reception.port)
    assert reception.refused == []


async def test_the_end_accepts_all_who_wait(reception: Reception) -> None:
    reception.listener.errors = [errno.ECONNABORTED] * 65  # a whole batch
    users = [socket.create_connection((HOST, reception.port)) for _ in range(3)]
    reception.acceptor.finish()
    assert len(reception.guests) == len(users)
    assert reception.listener.fileno() < 0
    for user in users:
        user.close()


async def test_a_port_that_has_refused_users_can_be_opened_again_at_once(reception: Reception) -> None:
    """Otherwise the connections of former users would hold it for a minute."""
    reception.acceptor.refuse()
    reception.acceptor.admit()
    user = await reception.net.dial(reception.port)
    await until(lambda: reception.guests)
    reception.guests[0].close()
    await user.closed()
    user.close()
    reception.acceptor.close()
    listen(HOST, reception.port, SocketOptions()).close()


async def test_an_internal_error_costs_one_connection(
    reception: Reception, net: Net, caplog: pytest.LogCaptureFixture
) -> None:
    reception.clumsy = True
    with contextlib.suppress(ConnectionResetError):  # which may arrive before the connect is reported
        assert await (await net.dial(reception.port)).closed()
    await until(lambda: "internal error" in caplog.text)
    reception.clumsy = False
    await net.dial(reception.port)
    await until(lambda: len(reception.guests) == 1)


async def test_a_port_that_can_not_be_watched_can_be_opened_again() -> None:
    poller, listener = ExhaustedPoller(), listen(HOST, free_port(), SocketOptions())
    with pytest.raises(OSError, match="memory"):
        Acceptor(poller, listener, lambda sock, _: sock.close(), lambda _: None)
    assert listener.fileno() < 0
    poller.close()


async def test_accepting_goes_on_after_a_pause_when_there_is_memory_again(net: Net) -> None:
    poller, listener = ExhaustedPoller(lambda _owner: False), listen(HOST, port := free_port(), SocketOptions())
    accepted = list[socket.socket]()
    acceptor = Acceptor(poller, listener, lambda sock, _: accepted.append(sock), lambda _: None)
    acceptor.abort()
    poller.short = lambda _owner: True
    await until(lambda: poller.refused)
    poller.short = lambda _owner: False
    await net.dial(port)
    await until(lambda: accepted)
    acceptor.close()
    accepted[0].close()
    poller.close()


async def test_a_port_that_is_closed_or_refuses_users_does_not_go_on_after_a_pause() -> None:
    poller, asked = ExhaustedPoller(lambda _owner: False), list[Owner | None]()
    closed, refusing, open_one = (
        Acceptor(poller, listen(HOST, free_port(), SocketOptions()), lambda sock, _: sock.close(), lambda _: None)
        for _ in range(3)
    )

    def short(owner: Owner | None) -> bool:
        asked.append(owner)
        return False

    poller.short = short
    for acceptor in (closed, refusing, open_one):
        acceptor.abort()
    closed.close()
    refusing.refuse()
    await until(lambda: open_one in asked)
    assert asked == [open_one]
    for acceptor in (refusing, open_one):
        acceptor.close()
    poller.close()

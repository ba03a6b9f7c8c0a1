"""The shares of users, clients and all others in the limit of open files."""

import os
import socket
from collections.abc import Iterator

import pytest

from backhaul.net.descriptors import Descriptors, descriptor_limit, for_users

RESERVE = 64


@pytest.mark.parametrize(("total", "reserve"), [(256, 32), (512, 64), (1 << 20, 64)])
def test_users_leave_a_part_to_clients_and_clients_leave_a_part_to_administrators(total: int, reserve: int) -> None:
    descriptors = Descriptors(lambda: total)
    assert descriptors.users_end() == total - reserve
    assert descriptors.pending_end() == total - reserve // 2
    assert descriptors.clients_end() == total - reserve // 4


def test_users_leave_room_for_the_tunnel_connections_of_those_who_wait() -> None:
    descriptors = Descriptors(lambda: 256)
    before = descriptors.users_end()
    descriptors.promised += 3
    assert descriptors.users_end() == before - 3


def test_a_limit_that_was_changed_is_noticed_within_a_second() -> None:
    limits, times = iter([256, 512]), iter([0.0, 0.0, 0.9, 1.0, 1.0])
    descriptors = Descriptors(lambda: next(limits), lambda: next(times))
    ends = [descriptors.users_end() for _ in range(3)]
    assert ends == [256 - 32, 256 - 32, 512 - RESERVE]


@pytest.fixture
def sock() -> Iterator[socket.socket]:
    with socket.socket() as sock:
        yield sock


def test_a_tunnel_connection_of_the_reserve_is_kept_only_for_a_user(sock: socket.socket) -> None:
    plenty, scarce = Descriptors(lambda: sock.fileno() + RESERVE + 1), Descriptors(lambda: sock.fileno() + 1)
    assert plenty.keeps(sock)
    assert not scarce.keeps(sock)
    scarce.promised = 1
    assert scarce.keeps(sock)


def test_the_limit_is_that_of_this_process() -> None:
    assert descriptor_limit() == os.sysconf("SC_OPEN_MAX")
    assert for_users() == Descriptors(descriptor_limit).users_end()

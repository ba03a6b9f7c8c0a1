"""The doctor's figures of the line."""

import errno
import socket

from tests.support.net import HOST
from tests.support.tunnel import Net

from backhaul.doctor import line
from backhaul.doctor.finding import Verdict, ok
from backhaul.doctor.names import Place
from backhaul.doctor.reach import Arrival
from backhaul.net.tcp_info import TcpInfo

PLACE = Place(socket.AF_INET, (HOST, 1))


def arrivals(*seconds: float) -> list[Arrival]:
    return [Arrival(PLACE, one, None) for one in seconds]


def test_figures() -> None:
    found = line.summarise(arrivals(0.03, 0.032, 0.03), [TcpInfo(sent=50), TcpInfo(sent=50, resent=1)])
    assert found == ok("line", "round trip 30 ms, jitter 2.0 ms, 1 of 100 packets sent again")


def test_loss() -> None:
    found = line.summarise(arrivals(0.03), [TcpInfo(sent=50, resent=5)])
    assert found.verdict is Verdict.WARNING
    assert "`mtr` shows where" in found.remedy


def test_a_connection_whose_first_packet_was_lost_is_no_jitter() -> None:
    late = Arrival(PLACE, 1.03, None, TcpInfo(sent=3, resent=1))
    found = line.summarise([*arrivals(0.03), late, *arrivals(0.03)], [TcpInfo(sent=97)])
    assert found == ok("line", "round trip 30 ms, jitter 0.0 ms, 1 of 100 packets sent again")


def test_packets_that_were_late_are_not_lost() -> None:
    found = line.summarise(arrivals(0.03), [TcpInfo(sent=100, resent=5, needless=5)])
    assert found.text.endswith(", 0 of 100 packets sent again")


def test_datagrams_have_another_remedy() -> None:
    found = line.summarise(arrivals(0.03), [TcpInfo(sent=50, resent=5)], datagrams=True)
    assert "udp_copies = 2" in found.remedy


def test_connections_that_fail() -> None:
    failed = Arrival(PLACE, 5.0, OSError(errno.ETIMEDOUT, "timed out"))
    found = line.summarise([*arrivals(0.03), failed], [])
    assert found.text == "round trip 30 ms, jitter 0.0 ms, loss unknown, 1 connection of 2 failed"


async def test_the_kernel_counts(net: Net) -> None:
    near, far = await net.pair()
    await near.send(b"x" * 1000)
    await far.receive(1000)
    info = TcpInfo.of(near.sock)
    assert info.sent >= 2
    assert info.resent == 0
    assert info.mss == near.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG) > 500
    assert 0 < info.round_trip < 1

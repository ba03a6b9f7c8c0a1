"""The door of tcp, tcpmux and udp, beyond the cases of test_dialling.py."""

from tests.support.net import until
from tests.support.tunnel import Net

from backhaul.net.poller import make_poller
from backhaul.net.predicates import has_error
from backhaul.transports.connection import Connection
from backhaul.transports.doors.raw import show
from backhaul.wire.peer import EXTENDED


async def test_a_server_that_closes_before_the_ticket_is_an_error_and_no_crash(net: Net) -> None:
    near, far = await net.pair()
    poller = make_poller()
    assert show(poller, near.sock, b"ticket") == Connection(near.sock, EXTENDED)
    far.reset()
    await until(lambda: has_error(near.sock))
    assert isinstance(show(poller, near.sock, b"ticket"), OSError)
    assert near.sock.fileno() < 0
    poller.close()

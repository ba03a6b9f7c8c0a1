"""The sessions of transport udp whose announcements a server expects."""

from typing import Final

from backhaul.net.endpoints import Address
from backhaul.relay.copies import Copies
from backhaul.security.datagrams import EPOCH_BITS, DatagramOpener
from backhaul.security.derive import step
from backhaul.security.records import Cipher, make_aead
from backhaul.security.session import SessionKeys, Side
from backhaul.transports.auth import Credentials
from backhaul.transports.carriers.udp_protected import ProtectedServer
from backhaul.transports.carriers.udp_socket import Announcers
from backhaul.wire.announcements import BLOCK_BITS, IDLE, Announcement, announce

CIPHER: Final = Cipher.AES_128_GCM
ADDRESS: Final = ("192.0.2.1", 4000)
TUNNEL: Final = b"a tunnel"


class Client:
    """A client with any numbers, and the reports of its session."""

    sizes = frozenset[int]()

    def __init__(self, announcers: Announcers) -> None:
        keys = SessionKeys(bytes(32), Side.SERVER, CIPHER, payload=False)
        self._secret = keys.datagrams(b"announcements")[1]
        self._announcers = announcers
        self.tunnels: list[bytes] = []
        self.session = ProtectedServer(keys, 0, self, self, copies=Copies(), enter_blocks=announcers.enter_blocks)

    def announced(self, announcement: Announcement, order: int, address: Address) -> None:
        assert (order >> BLOCK_BITS, address) == (len(self.tunnels), ADDRESS)
        self.tunnels.append(announcement.tunnel)

    def announced_unnamed(self, address: Address) -> None:
        raise AssertionError(address)

    def take(self, datagram: bytes | memoryview, address: Address) -> bool:
        raise AssertionError(datagram, address)

    def announcement(self, block: int) -> bytes:
        """Return an announcement with the first number of a block."""
        secret, number = self._secret, block << BLOCK_BITS
        masked = DatagramOpener(secret, CIPHER).masked(number)
        for _ in range((number >> EPOCH_BITS) + 1):
            key, secret = step(secret)
        message = announce(Announcement(TUNNEL, IDLE), 0)
        return masked + make_aead(key, CIPHER).encrypt(bytes(4) + masked, message, None)

    def announce(self, block: int) -> None:
        datagram = self.announcement(block)
        self._announcers.find(datagram).introduce(datagram, ADDRESS)

    def expected(self, block: int) -> bool:
        """Return whether an announcement of this block would be found."""
        return self._announcers.find(self.announcement(block)) is self.session


async def test_a_client_that_leaves_out_numbers_has_three_blocks_at_most() -> None:
    client = Client(Announcers(Credentials({})))
    for block in range(40):
        client.announce(block)
    assert client.tunnels == [TUNNEL] * 40
    assert [block for block in range(45) if client.expected(block)] == [38, 39, 40]


async def test_a_session_takes_no_block_of_another_one_nor_ends_it() -> None:
    announcers = Announcers(Credentials({}))
    first, second = Client(announcers), Client(announcers)  # with the same keys
    announcers.leave("", second.session)
    assert first.expected(0)
    announcers.leave("", first.session)
    assert not first.expected(0)

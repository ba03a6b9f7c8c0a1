"""Reads from TLS return all received records, so that none stays unseen by the poller; writes send all at once."""

import asyncio
import contextlib
import os
import random
import select
import socket
import ssl
import struct
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.support.middlebox import drop_all
from tests.support.net import HOST, PATIENCE, until

from backhaul.net.freezing import SMALL, YOUNG
from backhaul.net.predicates import has_input, is_established
from backhaul.net.tls import ClientContext, ClientTls, ServerContext, ServerTls
from backhaul.net.tls_socket import TlsSocket
from backhaul.system.certificate import make

RECORD = 1 << 14  # bytes of payload in a TLS record, at most
BULK = random.Random(4).randbytes(1 << 19)  # noqa: S311 - bytes that repeat nowhere
FAULTS = (ConnectionResetError, TimeoutError)  # the second since Python 3.13


@pytest.fixture
def begun(tmp_path: Path) -> Iterator[tuple[ssl.SSLSocket, ssl.SSLSocket]]:
    """Both ends of a connection on which the client has sent its hello."""
    cert, key = tmp_path / "cert", tmp_path / "key"
    pair = make([HOST], 1, datetime.now(UTC))
    cert.write_bytes(pair.certificate)
    key.write_bytes(pair.key)
    with socket.create_server((HOST, 0)) as listener:
        near = socket.create_connection(listener.getsockname(), PATIENCE)
        far, _ = listener.accept()
    far.settimeout(PATIENCE)
    server, client = ServerContext(ServerTls(str(cert), str(key))).wrap(far), ClientContext(ClientTls(HOST)).wrap(near)
    with server, client:
        client.settimeout(0)
        with pytest.raises(ssl.SSLWantReadError):
            client.do_handshake()
        yield server, client


@pytest.fixture
def ends(begun: tuple[ssl.SSLSocket, ssl.SSLSocket]) -> tuple[ssl.SSLSocket, ssl.SSLSocket]:
    """Both ends of a blocking connection after its handshake."""
    begun[1].settimeout(PATIENCE)
    # The server waits for one more flight of the client.
    asyncio.run(_shake(*begun))
    return begun


async def _shake(*ends: ssl.SSLSocket) -> None:
    await asyncio.gather(*(asyncio.to_thread(end.do_handshake) for end in ends))


def reset(_server: ssl.SSLSocket, client: ssl.SSLSocket) -> None:
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def time_out(server: ssl.SSLSocket, client: ssl.SSLSocket) -> None:
    drop_all(client)
    server.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 1)
    server.sendall(b"in vain")


async def wait_for_bytes(sock: socket.socket, size: int) -> None:
    """Wait until the kernel holds at least ``size`` bytes for ``sock``."""
    peeked = bytearray(2 * size)
    await until(lambda: socket.socket.recv_into(sock, peeked, 0, socket.MSG_PEEK) >= size)


@pytest.mark.parametrize(
    ("sizes", "buffer", "read"),
    [
        ([RECORD] * 5, 1 << 18, 5 * RECORD),
        ([RECORD] * 4 + [7], 1 << 18, 4 * RECORD + 7),
        ([RECORD, 7, RECORD], 1 << 18, 2 * RECORD + 7),
        ([RECORD] * 5, 2 * RECORD, 2 * RECORD),
        ([RECORD] * 5, 3 * RECORD - 1, 2 * RECORD),
        ([7, RECORD], 1 << 18, 7),  # a small message costs no second read, and the rest is reported again
        ([7], 1 << 18, 7),
    ],
)
async def test_one_read_returns_all_received_records(
    ends: tuple[ssl.SSLSocket, ssl.SSLSocket], sizes: list[int], buffer: int, read: int
) -> None:
    server, client = ends
    sent = os.urandom(sum(sizes))
    start = 0
    for size in sizes:
        client.sendall(sent[start : start + size])
        start += size
    await wait_for_bytes(server, sum(sizes))
    server.setblocking(False)
    view = memoryview(bytearray(buffer))
    assert server.recv_into(view) == read
    assert view[:read] == sent[:read]
    assert not server.pending()
    assert has_input(server) == (read < len(sent))


@pytest.mark.parametrize("size", [1, 100, 4097, RECORD])
async def test_a_small_read_leaves_no_part_of_a_record(ends: tuple[ssl.SSLSocket, ssl.SSLSocket], size: int) -> None:
    """The poller would not see it."""
    server, client = ends
    for _ in range(2):
        client.sendall(bytes(size))
    await wait_for_bytes(server, 2 * size)
    server.setblocking(False)
    buffer = bytearray(2 * RECORD)
    assert server.recv_into(buffer, 99) == size
    assert not server.pending()
    assert server.recv(99) == bytes(size)
    assert not server.pending()


async def test_a_read_without_records(ends: tuple[ssl.SSLSocket, ssl.SSLSocket]) -> None:
    server, _ = ends
    server.setblocking(False)
    with pytest.raises(ssl.SSLWantReadError):
        server.recv_into(bytearray(RECORD))


async def test_the_end_comes_after_the_bytes(ends: tuple[ssl.SSLSocket, ssl.SSLSocket]) -> None:
    server, client = ends
    client.sendall(bytes(2 * RECORD))
    client.shutdown(socket.SHUT_WR)
    view = bytearray(1 << 18)
    assert server.recv_into(view) == 2 * RECORD
    assert server.recv_into(view) == 0


async def test_an_error_comes_after_the_bytes_and_stays(ends: tuple[ssl.SSLSocket, ssl.SSLSocket]) -> None:
    server, client = ends
    client.sendall(bytes(2 * RECORD))
    socket.socket.sendall(client, bytes(RECORD))  # below TLS: not the beginning of a record
    await wait_for_bytes(server, 3 * RECORD)
    server.setblocking(False)
    view = bytearray(1 << 18)
    assert server.recv_into(view) == 2 * RECORD
    for _ in range(2):
        with pytest.raises(ssl.SSLError) as raised:
            server.recv_into(view)
        assert raised.value.reason in {"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE"}


async def test_a_close_notify_after_bytes_is_not_lost(ends: tuple[ssl.SSLSocket, ssl.SSLSocket]) -> None:
    server, client = ends
    client.sendall(bytes(RECORD))
    client.settimeout(0)
    with pytest.raises(ssl.SSLWantReadError):  # it waits for a close_notify of this end, and does not close
        client.unwrap()
    await wait_for_bytes(server, RECORD + 24)
    server.setblocking(False)
    view = bytearray(1 << 18)
    assert server.recv_into(view) == RECORD
    assert has_input(server)
    assert server.recv_into(view) == 0


@pytest.mark.parametrize("fault", [reset, time_out])
@pytest.mark.parametrize("sent", [0, 5, RECORD])
async def test_a_broken_connection_is_no_end(
    ends: tuple[ssl.SSLSocket, ssl.SSLSocket], fault: Callable[[ssl.SSLSocket, ssl.SSLSocket], None], sent: int
) -> None:
    """The standard library reports it as one, and the answer to a download would seem complete."""
    server, client = ends
    client.sendall(bytes(sent))
    await wait_for_bytes(server, sent)
    fault(server, client)
    server.setblocking(False)
    await until(lambda: select.select([server], [], [server], 0)[0] and not is_established(server))
    view = bytearray(1 << 18)
    if sent:
        assert server.recv_into(view) == sent
    for _ in range(2):
        with pytest.raises(FAULTS):
            server.recv_into(view)
    with pytest.raises(FAULTS):
        server.recv(1)


async def reset_after(server: ssl.SSLSocket, client: ssl.SSLSocket, sent: int) -> None:
    """Let the client send bytes and reset the connection, and wait until both have arrived."""
    client.sendall(bytes(sent))
    await wait_for_bytes(server, sent)
    reset(server, client)
    await until(lambda: not is_established(server))


@pytest.mark.parametrize("sent", [0, RECORD])
async def test_an_error_does_not_keep_its_connection(ends: tuple[ssl.SSLSocket, ssl.SSLSocket], sent: int) -> None:
    """The memory is OpenSSL's, of which the cycle collector knows nothing."""
    server, client = ends
    await reset_after(server, client, sent)
    view, before = bytearray(1 << 18), sys.getrefcount(server)
    assert not sent or server.recv_into(view) == sent
    for _ in range(2):
        with contextlib.suppress(ConnectionResetError):
            server.recv_into(view)
        with contextlib.suppress(ConnectionResetError):
            server.recv(1)
    assert sys.getrefcount(server) == before


@pytest.mark.parametrize("sent", [0, 5])
async def test_a_small_read_tells_a_fault_from_an_end(ends: tuple[ssl.SSLSocket, ssl.SSLSocket], sent: int) -> None:
    server, client = ends
    await reset_after(server, client, sent)
    assert not sent or server.recv(1 << 14) == bytes(sent)
    with pytest.raises(ConnectionResetError):
        server.recv(1)


async def test_a_small_read_at_the_end(ends: tuple[ssl.SSLSocket, ssl.SSLSocket]) -> None:
    server, client = ends
    socket.socket.shutdown(client, socket.SHUT_WR)
    assert server.recv(1) == server.recv(1) == b""


def packets_sent(sock: socket.socket) -> int:
    """Return how many packets with payload the kernel has sent (``tcpi_data_segs_out`` of linux/tcp.h)."""
    return int.from_bytes(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 160)[156:], sys.byteorder)


async def test_the_records_of_a_write_share_packets(ends: tuple[ssl.SSLSocket, ssl.SSLSocket]) -> None:
    server, client = ends
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    before = packets_sent(client)
    assert client.send(bytes(RECORD + 7)) == RECORD + 7
    await wait_for_bytes(server, RECORD + 7)
    assert packets_sent(client) - before == 1


def test_a_connection_that_has_blocked_holds_nothing_back(ends: tuple[ssl.SSLSocket, ssl.SSLSocket]) -> None:
    _, client = ends
    client.setblocking(False)
    with pytest.raises(ssl.SSLWantWriteError):
        client.sendall(bytes(1 << 26))  # sends until the kernel takes no more
    assert not client.getsockopt(socket.IPPROTO_TCP, socket.TCP_CORK)


def test_no_message_waits_for_the_acknowledgement_of_a_handshake(begun: tuple[ssl.SSLSocket, ssl.SSLSocket]) -> None:
    """Nagle's algorithm would hold the request back for a round trip."""
    server, client = begun
    server.settimeout(0)
    with pytest.raises(ssl.SSLWantReadError):
        server.do_handshake()
    drop_all(server)
    client.do_handshake()
    before = packets_sent(client)
    client.send(b"request")
    assert packets_sent(client) - before == 1


def test_no_answer_waits_for_the_acknowledgement_of_a_ticket(begun: tuple[ssl.SSLSocket, ssl.SSLSocket]) -> None:
    server, client = begun
    server.settimeout(0)
    with pytest.raises(ssl.SSLWantReadError):
        server.do_handshake()
    client.do_handshake()
    drop_all(client)
    server.settimeout(PATIENCE)
    server.do_handshake()
    before = packets_sent(server)
    server.send(b"answer")
    assert packets_sent(server) - before == 1


async def test_the_first_records_of_a_session_are_small(ends: tuple[ssl.SSLSocket, ssl.SSLSocket]) -> None:
    server, client = ends
    assert isinstance(client, TlsSocket)
    client.begin_small()
    assert client.send(BULK[: 4 * YOUNG]) == 4 * YOUNG
    assert [len(server.read(RECORD)) for _ in range(YOUNG // SMALL)] == [SMALL] * (YOUNG // SMALL)
    assert len(server.read(RECORD)) == RECORD


async def test_a_full_connection_goes_on_where_it_was_in_its_small_records(
    ends: tuple[ssl.SSLSocket, ssl.SSLSocket],
) -> None:
    server, client = ends
    assert isinstance(client, TlsSocket)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    for end in ends:
        end.setblocking(False)
    client.begin_small()
    rest, arrived = bytearray(BULK[:100]), bytearray()
    added, full = len(rest), 0
    while len(arrived) < len(BULK):
        try:
            del rest[: client.send(rest)]
        except ssl.SSLWantWriteError:
            full += 1
            with contextlib.suppress(ssl.SSLWantReadError):
                arrived += server.recv(RECORD)
        more = BULK[added : added + 100 + 7 * full]
        rest += more
        added += len(more)
        if not rest:
            with contextlib.suppress(ssl.SSLWantReadError):
                arrived += server.recv(RECORD)
    assert arrived == BULK
    assert full > YOUNG // 4096

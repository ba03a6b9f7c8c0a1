"""The server's end of connections that serve one user after the other; the client is played by the test."""

import gc

import pytest
from tests.support.net import Peer, until
from tests.support.sealed_carriers import KINDS, SEALED_KINDS, Kind, Speaker, Stage
from tests.support.web import PING, PONG, frame

from backhaul.relay.lent_channel import LentChannel
from backhaul.relay.outcome import ORDERLY
from backhaul.security.records import Sealer
from backhaul.transports.carriers.dedicated_server import IdleCarrier

pytestmark = pytest.mark.both_loops

BYTES = b"five?"
each_kind = pytest.mark.parametrize("kind", KINDS, ids=str)


class Client(Speaker):
    """The client's end of a connection, played by the test."""

    def __init__(self, kind: Kind, peer: Peer, sealer: Sealer) -> None:
        super().__init__(kind, sealer, masked=True)
        self.peer = peer


async def played(stage: Stage, kind: Kind) -> tuple[IdleCarrier, Client, Peer]:
    """Return a connection with a user, its other end, and the user's socket."""
    carrier, far = await stage.server(kind)
    user, peer = await stage.user()
    assert carrier.attach(user)
    await kind.receive_target(far)
    return carrier, Client(kind, far, stage.seals(kind)[1].sealer), peer


async def ended(stage: Stage, kind: Kind) -> tuple[IdleCarrier, Client]:
    """Return a connection whose user has ended in both directions, before the target has taken all bytes."""
    carrier, client, user = await played(stage, kind)
    await user.send(BYTES)
    await kind.receive(client.peer)
    user.shut_write()
    await kind.receive(client.peer)
    await client.peer.send(client.end())
    assert await user.receive_all() == b""
    await until(lambda: len(stage.returning))
    return carrier, client


@each_kind
async def test_only_the_client_gives_a_connection_back(stage: Stage, kind: Kind) -> None:
    carrier, client = await ended(stage, kind)
    assert not stage.free
    await client.peer.send(client.free())
    await until(lambda: stage.free == [carrier])
    assert not len(stage.returning)


@each_kind
@pytest.mark.parametrize("first", ["user", "target"])
async def test_a_target_that_has_taken_all_bytes_frees_the_connection(stage: Stage, kind: Kind, first: str) -> None:
    carrier, far = await stage.server(kind)
    user, peer = await stage.user(b"early", b"PROXY")
    assert carrier.attach(user)
    await kind.receive_target(far)
    client = Client(kind, far, stage.seals(kind)[1].sealer)
    assert b"PROXYearly" in await kind.receive(far) or kind.payload
    if first == "target":
        await far.send(client.end(10))
        assert await peer.receive_all() == b""
        assert not stage.free
    peer.shut_write()
    await kind.receive(far)
    if first == "user":
        await far.send(client.end(10))
        assert await peer.receive_all() == b""
    await until(lambda: stage.free == [carrier])
    assert not len(stage.returning)


@each_kind
async def test_a_reset_that_comes_too_late_is_not_that_of_the_next_user(stage: Stage, kind: Kind) -> None:
    carrier, client, first = await played(stage, kind)
    await client.peer.send(client.end())
    assert await first.receive_all() == b""
    first.shut_write()
    await until(lambda: stage.free == [carrier])
    await kind.receive(client.peer)
    user, peer = await stage.user()
    assert carrier.attach(user)
    await client.peer.send(client.reset_after_end() + client.data(BYTES))
    assert await peer.receive(len(BYTES)) == BYTES
    await client.peer.send(client.end() + client.reset_after_end())
    await until(lambda: stage.gone == [carrier])
    assert [outcome.ending in ORDERLY for outcome in stage.outcomes] == [True, False]


@each_kind
async def test_free_before_the_user_has_ended_closes_the_connection(stage: Stage, kind: Kind) -> None:
    _, client, _ = await played(stage, kind)
    await client.peer.send(client.end() + client.free())
    await until(lambda: stage.gone)
    assert not stage.free
    assert len(stage.outcomes) == 1


@pytest.mark.parametrize("kind", SEALED_KINDS, ids=str)
async def test_free_before_the_target_has_ended_closes_the_connection(stage: Stage, kind: Kind) -> None:
    """Without ``encryption`` these bytes are data of the target: its direction has not ended."""
    _, client, user = await played(stage, kind)
    user.shut_write()
    await kind.receive(client.peer)
    await client.peer.send(client.free())
    await until(lambda: stage.gone)
    assert not await user.closed()


MISTAKES = ["data", "end", "free twice", "half a message", "replayed free"]


@each_kind
@pytest.mark.parametrize("mistake", MISTAKES)
async def test_anything_else_after_both_ends_closes_the_connection(stage: Stage, kind: Kind, mistake: str) -> None:
    _, client = await ended(stage, kind)
    free = client.free()
    await client.peer.send(
        {
            "data": client.data(b"late"),
            "end": client.end(),
            "free twice": free + client.free(),
            "half a message": free + client.data(b"of the next")[:-3],
            "replayed free": free + free,
        }[mistake]
    )
    await until(lambda: stage.gone)
    assert len(stage.gone) == 1


@each_kind
@pytest.mark.parametrize(
    ("mistake", "complaint"),
    [("data", "after the end of a direction"), ("end", "a second end of a direction")],
    ids=["data", "end"],
)
async def test_a_message_after_the_end_of_the_target_closes_the_connection(
    stage: Stage, kind: Kind, mistake: str, complaint: str, caplog: pytest.LogCaptureFixture
) -> None:
    _, client, user = await played(stage, kind)
    await client.peer.send(client.end())
    assert await user.receive_all() == b""
    await client.peer.send(client.data(b"late") if mistake == "data" else client.end())
    await until(lambda: stage.gone)
    assert complaint in caplog.text


@each_kind
async def test_nothing_of_a_user_stays_with_a_connection_that_was_given_back(stage: Stage, kind: Kind) -> None:
    gc.collect()
    carrier, client = await ended(stage, kind)
    await client.peer.send(client.free())
    await until(lambda: stage.free == [carrier])
    assert not [thing for thing in gc.get_objects() if isinstance(thing, LentChannel)]


@each_kind
async def test_a_reset_between_both_ends_and_free_closes_the_connection(stage: Stage, kind: Kind) -> None:
    _, client = await ended(stage, kind)
    await client.peer.send(client.reset_after_end())
    await until(lambda: stage.gone)
    assert not stage.free
    assert not len(stage.returning)


@each_kind
async def test_a_client_that_closes_in_place_of_free_is_no_fault(stage: Stage, kind: Kind) -> None:
    _, client = await ended(stage, kind)
    client.peer.close()
    await until(lambda: stage.gone)
    assert not len(stage.returning)


@each_kind
async def test_a_client_that_never_gives_it_back_loses_it(stage: Stage, kind: Kind) -> None:
    _, client = await ended(stage, kind)
    for channel in stage.returning.clear():
        channel.close()
    assert await client.peer.closed()
    assert stage.gone


@each_kind
async def test_a_message_on_an_idle_connection_closes_it(stage: Stage, kind: Kind) -> None:
    carrier, client = await ended(stage, kind)
    await client.peer.send(client.free())
    await until(lambda: stage.free)
    await client.peer.send(client.data(b"for nobody"))
    await until(lambda: stage.gone == [carrier])
    user, _ = await stage.user()
    assert not carrier.attach(user)


@each_kind
async def test_a_free_of_another_connection_is_an_attack(stage: Stage, kind: Kind) -> None:
    _, client = await ended(stage, kind)
    client.free()  # the number that the next one had, so this is the second
    await client.peer.send(client.free())
    await until(lambda: stage.gone)
    assert not stage.free


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.http], ids=str)
async def test_a_proxy_may_ping_between_two_users(stage: Stage, kind: Kind) -> None:
    carrier, client = await ended(stage, kind)
    ping = frame(PING, b"proxy", masked=True)
    await client.peer.send(ping + client.free() + ping[:3])
    await until(lambda: stage.free == [carrier])
    await client.peer.send(ping[3:])
    assert [await kind.receive(client.peer) for _ in range(2)] == [frame(PONG, b"proxy")] * 2
    user, _ = await stage.user()
    assert carrier.attach(user)

"""The ends of connections between this program and the Go peer, which knows no half-close, over every transport."""

import asyncio

import pytest
from tests.support.go_peer import STREAMS, Mixed, cases
from tests.support.net import Peer, fill, free_port, received_before_the_end, until, upload

ANSWER = bytes(range(256)) * 4000


@pytest.fixture(autouse=True)
def _no_end_by_timer(mixed: Mixed) -> None:
    """Let connections end by what their peers do, and not by a timer."""
    mixed.net.patience = {"half_close": 1e9, "hold_back": 1e9, "hold_back_answered": 1e9}


async def connect(mixed: Mixed) -> tuple[Peer, Peer]:
    """Return a user of a new tunnel and the target's end of the user's connection."""
    listener = mixed.net.listen()
    await mixed.start(listener.port)
    user, target = await asyncio.gather(mixed.user(), listener.accept())
    return user, target


async def test_a_target_that_sends_first(mixed: Mixed) -> None:
    user, target = await connect(mixed)
    await target.send(b"220 welcome\r\n")
    assert await user.receive(13) == b"220 welcome\r\n"
    await user.send(b"QUIT\r\n")
    assert await target.receive(6) == b"QUIT\r\n"


async def test_the_target_closes_after_its_answer(mixed: Mixed) -> None:
    user, target = await connect(mixed)
    await user.send(b"request")
    await target.receive(7)
    await target.send(ANSWER)
    target.close()
    assert await user.receive_all() == ANSWER


async def test_the_target_is_done_sending(mixed: Mixed) -> None:
    user, target = await connect(mixed)
    await user.send(b"request")
    await target.receive(7)
    await target.send(ANSWER)
    target.shut_write()
    assert await user.receive_all() == ANSWER
    assert await target.receive_all() == b""


async def test_the_user_closes_after_an_upload(mixed: Mixed) -> None:
    user, target = await connect(mixed)
    await user.send(ANSWER)
    user.close()
    if mixed.case.ours == "server":
        assert await target.receive(len(ANSWER)) == ANSWER
        target.close()  # this program holds the user's end back until the target is done, or for a while
    else:
        assert await target.receive_all() == ANSWER


@pytest.mark.parametrize("case", [case for case in cases(STREAMS) if case.ours == "server"], ids=str)
async def test_an_early_answer_to_an_upload(mixed: Mixed) -> None:
    """Unsent bytes of the user make the end a reset, but the answer arrives first."""
    user, target = await connect(mixed)
    await fill(user)
    await target.send(b"413")
    target.shut_write()
    assert await user.receive(3) == b"413"


@pytest.mark.parametrize("case", [case for case in cases(STREAMS) if case.ours == "server"], ids=str)
async def test_an_early_answer_during_an_upload(mixed: Mixed) -> None:
    """The server of a v0.7.2 client may notice the reset of the connection when it sends."""
    listener = mixed.net.listen()
    await mixed.start(listener.port)
    for _ in range(10):
        user, target = await asyncio.gather(mixed.user(), listener.accept())
        uploading = asyncio.ensure_future(upload(user))
        await target.receive(100_000)
        await target.send(b"413")
        target.shut_write()  # the Go peer closes its connection, with unread bytes
        assert await received_before_the_end(user) == b"413"
        await uploading


async def test_a_user_who_leaves_after_the_answer(mixed: Mixed) -> None:
    mixed.net.patience |= {"hold_back_answered": 0.05, "sweep": 0.02}
    user, target = await connect(mixed)
    await user.send(b"request")
    assert await target.receive(7) == b"request"
    await target.send(b"answer")
    assert await user.receive(6) == b"answer"
    user.close()
    assert await target.receive_all() == b""


async def test_a_user_who_leaves_without_a_byte(mixed: Mixed) -> None:
    user, target = await connect(mixed)
    user.close()
    assert await target.receive_all() == b""


async def test_a_request_that_ends_gets_its_late_answer(mixed: Mixed) -> None:
    """This program is the server; v0.7.2 as server closes both directions, and the client follows."""
    user, target = await connect(mixed)
    await user.send(b"request")
    user.shut_write()
    if mixed.case.ours == "server":
        assert await target.receive(7) == b"request"
        await until(lambda: mixed.ours.relay.watched)  # the end has arrived, and is held back
        await target.send(ANSWER)
        target.close()
        assert await user.receive_all() == ANSWER
    else:
        assert await target.receive_all() == b"request"
        assert await user.receive_all() == b""
    await until(lambda: not mixed.ours.relay.live)


async def test_the_user_resets(mixed: Mixed) -> None:
    user, target = await connect(mixed)
    await user.send(b"hello")
    await target.receive(5)
    user.reset()
    await target.closed()


async def test_the_target_resets(mixed: Mixed) -> None:
    user, target = await connect(mixed)
    await user.send(b"hello")
    await target.receive(5)
    target.reset()
    await user.closed()


async def test_a_target_that_refuses(mixed: Mixed) -> None:
    await mixed.start(free_port(), await mixed.net.echo())
    refused, served = await mixed.user(0), await mixed.user(1)
    await refused.closed()
    await served.send(b"still there?")
    assert await served.receive(12) == b"still there?"


async def test_a_user_who_leaves_at_once(mixed: Mixed) -> None:
    await mixed.start(await mixed.net.echo())
    (await mixed.user()).close()
    user = await mixed.user()
    await user.send(b"next")
    assert await user.receive(4) == b"next"


async def test_the_peer_is_killed_while_a_user_is_connected(mixed: Mixed) -> None:
    user, target = await connect(mixed)
    await user.send(b"hello")
    await target.receive(5)
    mixed.peer.kill()
    await (user if mixed.case.ours == "server" else target).closed()
    await until(lambda: not mixed.ours.relay.live)
    mixed.peer.start()  # a dead one would count as crashed

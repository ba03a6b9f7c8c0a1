"""The client's end of connections that serve one user after the other; the server is played by the test."""

import asyncio
import functools
from typing import TYPE_CHECKING

import pytest
from tests.support.net import Peer, until
from tests.support.sealed_carriers import KINDS, TARGET, Kind, Speaker, Stage

from backhaul.security import kinds

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.both_loops

BYTES = b"five?"
each_kind = pytest.mark.parametrize("kind", KINDS, ids=str)


class TestNextUser:
    """A server, played by the test, which does not wait for FREE when the target has taken all bytes."""

    @each_kind
    @pytest.mark.parametrize("size", [1, 1 << 16])
    async def test_the_next_user_may_follow_the_end_at_once(self, stage: Stage, kind: Kind, size: int) -> None:
        _, far = await stage.client(kind)
        server = Speaker(kind, stage.seals(kind)[0].sealer, masked=False)
        await far.send(server.record(kinds.TCP, TARGET.encode()) + server.data(BYTES))
        first = await stage.reached()
        assert await first.receive(len(BYTES)) == BYTES
        first.shut_write()
        end = await kind.receive(far)
        stream = server.end() + server.record(kinds.TCP, TARGET.encode()) + server.data(b"another's") + server.end()
        for start in range(0, len(stream), size):
            await far.send(stream[start : start + size])
            await asyncio.sleep(0)
        assert await first.receive_all() == b""
        second = await stage.reached()
        assert await second.receive_all() == b"another's"
        second.shut_write()
        assert len(await kind.receive(far)) == len(end)  # the first connection was free without FREE
        assert not stage.lost

    @each_kind
    async def test_a_reset_of_the_target_after_both_ends_is_no_harm(self, stage: Stage, kind: Kind) -> None:
        _, far = await stage.client(kind)
        server = Speaker(kind, stage.seals(kind)[0].sealer, masked=False)
        await far.send(server.record(kinds.TCP, TARGET.encode()))
        await self._reset_after_end(stage, kind, far)
        await far.send(server.end() + server.record(kinds.TCP, TARGET.encode()) + server.data(BYTES))
        second = await stage.reached()
        assert await second.receive(len(BYTES)) == BYTES
        assert not stage.lost
        assert not stage.relay.lingering

    @each_kind
    async def test_a_user_who_sends_more_to_a_reset_target_ends_the_connection(
        self, stage: Stage, kind: Kind, caplog: pytest.LogCaptureFixture
    ) -> None:
        _, far = await stage.client(kind)
        server = Speaker(kind, stage.seals(kind)[0].sealer, masked=False)
        await far.send(server.record(kinds.TCP, TARGET.encode()))
        await self._reset_after_end(stage, kind, far)
        await far.send(server.data(b"too late"))
        await until(lambda: stage.lost)
        assert not caplog.records
        assert not stage.idle

    @each_kind
    async def test_a_target_that_is_reset_before_its_end_ends_the_connection_in_silence(
        self, stage: Stage, kind: Kind, caplog: pytest.LogCaptureFixture
    ) -> None:
        _, far = await stage.client(kind)
        server = Speaker(kind, stage.seals(kind)[0].sealer, masked=False)
        await far.send(server.record(kinds.TCP, TARGET.encode()))
        target = await stage.reached()
        target.reset()
        await kind.receive(far)
        await until(lambda: stage.lost)
        assert not caplog.records
        assert not stage.idle

    async def _reset_after_end(self, stage: Stage, kind: Kind, far: Peer) -> None:
        target = await stage.reached()
        target.shut_write()
        await kind.receive(far)
        target.reset()
        await kind.receive(far)


class TestServer:
    """A client whose server, played by the test, makes mistakes."""

    @each_kind
    @pytest.mark.parametrize("mistake", ["free", "data", "end"])
    async def test_a_message_between_end_and_free_closes_the_connection(
        self, stage: Stage, kind: Kind, mistake: str
    ) -> None:
        _, far = await stage.client(kind)
        server = Speaker(kind, stage.seals(kind)[0].sealer, masked=False)
        await far.send(server.record(kinds.TCP, TARGET.encode()))
        target = await stage.reached()
        await far.send(server.end())
        assert await target.receive_all() == b""
        late: dict[str, Callable[[], bytes]] = {
            "free": server.free,
            "data": functools.partial(server.data, b"late"),
            "end": server.end,
        }
        await far.send(late[mistake]())
        await until(lambda: stage.lost)
        assert len(stage.outcomes) == 1
        assert not stage.idle
        assert not stage.arrivals

    @each_kind
    async def test_a_reset_that_crosses_free_closes_the_connection_in_silence(
        self, stage: Stage, kind: Kind, caplog: pytest.LogCaptureFixture
    ) -> None:
        _, far = await stage.client(kind)
        server = Speaker(kind, stage.seals(kind)[0].sealer, masked=False)
        await far.send(server.record(kinds.TCP, TARGET.encode()) + server.end())
        target = await stage.reached()
        target.close()
        await until(lambda: stage.idle)
        await far.send(server.reset_after_end())
        await until(lambda: stage.arrivals)
        assert stage.arrivals == [None]
        assert not caplog.records

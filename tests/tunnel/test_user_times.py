"""The histograms of users' waiting times and connections."""

import asyncio

import pytest
from msgspec.structs import replace
from tests.support.net import until
from tests.support.public import Public
from tests.support.tunnel import change

from backhaul.state import HistogramState, UserTimesState
from backhaul.tunnel.histogram import Histogram


def times(public: Public) -> UserTimesState:
    (only,) = public.server.user_times()
    return only


def test_a_bucket_includes_its_bound() -> None:
    histogram = Histogram((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 2.0, 3.0):
        histogram.observe(value)
    assert histogram.state() == HistogramState((1.0, 2.0), (2, 2, 1), 8.0)


async def test_a_user_who_finds_a_carrier_waits_for_nothing(public: Public) -> None:
    await public.client()
    await public.tunnel_connection()
    user = await public.user()
    await until(lambda: list(public.server.user_times()))
    assert (times(public).waiting.counts[0], times(public).waiting.total) == (1, 0.0)
    assert sum(times(public).duration.counts) == 0
    user.reset()
    await until(lambda: sum(times(public).duration.counts))


async def test_a_user_waits_until_there_is_a_carrier(public: Public) -> None:
    await public.client()
    begun = asyncio.get_running_loop().time()
    await public.user()
    await until(lambda: public.server.tunnel.waiting)
    assert list(public.server.user_times()) == []
    await public.addressed(await public.tunnel_connection())
    assert sum(times(public).waiting.counts) == 1
    assert 0 <= times(public).waiting.total <= asyncio.get_running_loop().time() - begun


@pytest.mark.timings(user_patience=0.01)
async def test_a_user_without_a_carrier_has_a_duration_only(public: Public) -> None:
    await public.client()
    await public.user()
    await until(lambda: list(public.server.user_times()))
    assert sum(times(public).waiting.counts) == 0
    assert sum(times(public).duration.counts) == 1


async def test_a_port_that_has_lost_tcp_keeps_its_times_apart_from_those_of_a_new_one(public: Public) -> None:
    await public.client()
    (mapping,) = public.server.config.ports
    streams, datagrams = replace(mapping, protocol="tcp"), replace(mapping, protocol="udp")
    for ports in ((streams,), (datagrams,), (datagrams, streams)):
        await change(public.server, ports=ports)
        if streams in ports:
            await public.user()
            await public.addressed(await public.tunnel_connection())
    await until(lambda: len(list(public.server.user_times())) == 2)
    assert sorted(one.protocol for one in public.server.user_times()) == ["tcp", "udp"]

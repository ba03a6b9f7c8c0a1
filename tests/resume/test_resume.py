"""Users who outlive the connections of their tunnel."""

import asyncio
import random
from collections.abc import Callable

import pytest
from tests.support.middlebox import Middlebox
from tests.support.mux import links_of
from tests.support.net import HOST, Peer, echo, free_port, until, until_reset
from tests.support.tunnel import Net

from backhaul import assembly, server
from backhaul.client import Client
from backhaul.mux.resumable_link import ResumableLink
from backhaul.server import Server
from backhaul.state import ResumptionState
from backhaul.wire.smux import Settings

BULK = random.Random(18).randbytes(4_000_000)  # noqa: S311 - bytes that repeat nowhere
MUX = ["tcpmux", "wsmux", "wssmux"]
IMPATIENT = Settings(keepalive_interval=0.05, keepalive_timeout=0.3)
FORMS = {"clear": "", "sealed": "encryption = true"}

every_form = pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
every_mux = pytest.mark.parametrize("any_net", MUX, indirect=True)
one_mux = pytest.mark.parametrize("any_net", ["wsmux"], indirect=True)


def with_resumption(lines: str) -> str:
    """Return the lines of an end whose sessions can be resumed, unless they say otherwise."""
    return lines if "resume_timeout" in lines else f"resume_timeout = 60\n{lines}"


class Torn:
    """A tunnel through a middlebox, with two sessions."""

    def __init__(self, net: Net, server: Server, client: Client, middlebox: Middlebox, port: int) -> None:
        self.net, self.server, self.client, self.middlebox, self.port = net, server, client, middlebox, port

    @classmethod
    async def start(cls, net: Net, server: str = "", client: str = "", *, pool: int = 2, target: int = 0) -> "Torn":
        """Start both ends; without a ``target`` there is an echo."""
        bind_port, port = free_port(), free_port()
        one = await net.server(bind_port, [f"{HOST}:{port}={target or await net.echo()}"], with_resumption(server))
        middlebox = net.middlebox(bind_port)
        other = await net.client(middlebox.port, f"connection_pool = {pool}\n{with_resumption(client)}")
        await until(lambda: len(links_of(one)) == len(links_of(other)) == pool)
        return cls(net, one, other, middlebox, port)

    async def user(self) -> Peer:
        user = await self.net.dial(self.port)
        await echo(user, b"hello")
        return user

    async def cut(self, *, control: bool = False) -> None:
        """Reset the tunnel connections, and the control channel as well."""
        kept = [] if control else self.middlebox.paths[:1]
        cut = self.middlebox.paths[len(kept) :]
        self.middlebox.paths[:] = kept
        for path in cut:
            await path.cut()

    @property
    def resumed(self) -> ResumptionState:
        return self.client.state().relay.resumption


async def exchange(user: Peer, data: bytes = BULK) -> bytes:
    """Send ``data`` and return what the echo makes of it."""
    _, answer = await asyncio.gather(user.send(data), user.receive(len(data)))
    return answer


def sessions(end: Server | Client) -> list[ResumableLink]:
    """Return the sessions of an end."""
    return [link for link in links_of(end) if isinstance(link, ResumableLink)]


def progress(end: Client) -> Callable[[], bool]:
    """Return the question whether each session has received something since now."""
    before = {link: link.received for link in sessions(end)}
    return lambda: all(link.received > count for link, count in before.items())


@every_mux
@every_form
async def test_bulk_survives_resets_of_all_tunnel_connections(any_net: Net, form: str) -> None:
    torn = await Torn.start(any_net, client=form)
    users = [await torn.user() for _ in range(3)]
    exchanges = [asyncio.create_task(exchange(user)) for user in users]
    for cuts in range(1, 5):
        moved = progress(torn.client)
        await until(lambda: moved() or all(each.done() for each in exchanges))  # noqa: B023 - within this round
        await torn.cut()
        await until(lambda: torn.resumed.resumes >= 2 * cuts and not torn.resumed.parked)  # noqa: B023
    assert all(answer == BULK for answer in await asyncio.gather(*exchanges))
    await until(lambda: not torn.resumed.memory and not torn.server.state().relay.resumption.memory)


@every_mux
async def test_users_survive_with_another_control_channel(any_net: Net) -> None:
    torn = await Torn.start(any_net, client="encryption = true")
    users = [await torn.user() for _ in range(4)]
    exchanges = [asyncio.create_task(exchange(user)) for user in users]
    await until(progress(torn.client))
    await torn.cut(control=True)
    assert all(answer == BULK for answer in await asyncio.gather(*exchanges))
    assert torn.client.tunnel.opened == 2
    assert torn.resumed.resumes >= 2
    await torn.user()
    await until(lambda: len(links_of(torn.server)) == len(links_of(torn.client)) == 2)


@one_mux
async def test_users_survive_when_the_address_of_the_client_changes(any_net: Net) -> None:
    torn = await Torn.start(any_net)
    user = await torn.user()
    torn.middlebox.source = "127.0.0.2"
    await torn.cut(control=True)
    await echo(user, b"from elsewhere")
    assert torn.server.session().peer == "127.0.0.2"


@one_mux
async def test_a_session_that_was_resumed_takes_users_and_can_be_resumed_again(any_net: Net) -> None:
    torn = await Torn.start(any_net, pool=1)
    first = await torn.user()
    for resumes in (1, 2, 3):
        await torn.cut(control=resumes == 2)
        await until(lambda: torn.resumed.resumes == resumes)  # noqa: B023 - within this round
        await echo(first, b"again")
        await echo(await torn.user(), b"a new one")
        assert len(links_of(torn.server)) == 1


@one_mux
async def test_a_server_that_started_again_does_not_let_users_wait(any_net: Net) -> None:
    listener = any_net.listen()
    torn = await Torn.start(any_net, target=listener.port)
    await any_net.dial(torn.port)
    target = await listener.accept()
    await torn.cut(control=True)
    torn.server.close()
    await any_net.run(torn.server.config)
    await until_reset(target)
    assert not torn.resumed.resumes


@one_mux
async def test_a_client_that_started_again_does_not_let_users_wait(any_net: Net) -> None:
    torn = await Torn.start(any_net)
    user = await torn.user()
    for link in sessions(torn.client):
        link.kept = False  # its process is gone, without a goodbye
    torn.client.tunnel.close()
    await torn.cut(control=True)
    await until(lambda: torn.server.state().relay.resumption.parked)
    await any_net.client(torn.middlebox.port)
    await until_reset(user)


@one_mux
async def test_users_wait_no_longer_than_they_should(any_net: Net) -> None:
    torn = await Torn.start(any_net, server="resume_timeout = 1")
    user = await torn.user()
    for link in sessions(torn.client):
        link.kept = False
    await torn.cut()
    await until(lambda: torn.server.state().relay.resumption.parked)
    await until_reset(user)
    assert not torn.server.relay.resumption.links or not torn.server.state().relay.resumption.parked


@one_mux
@pytest.mark.parametrize("lines", [("resume_timeout = 0", ""), ("", "resume_timeout = 0")], ids=["server", "client"])
async def test_an_end_can_do_without(any_net: Net, lines: tuple[str, str]) -> None:
    torn = await Torn.start(any_net, *lines)
    user = await torn.user()
    await torn.cut()
    await until_reset(user)
    assert not torn.resumed.memory


@every_mux
async def test_a_session_whose_connection_was_silent_for_too_long_goes_on(
    any_net: Net, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (assembly, server):
        monkeypatch.setattr(module, "mux_settings", lambda _config: IMPATIENT)
    any_net.patience = {"unacknowledged": 60.0}  # only the silence counts
    torn = await Torn.start(any_net, pool=1)
    user = await torn.user()
    for path in torn.middlebox.paths[1:]:
        path.swallow()
    await until(lambda: torn.resumed.resumes)
    await echo(user, b"hello")


@every_mux
async def test_a_silent_connection_is_replaced(any_net: Net) -> None:
    any_net.patience = {"unacknowledged": 0.3, "look": 0.05}
    torn = await Torn.start(any_net, pool=1)
    user = await torn.user()
    for path in torn.middlebox.paths[1:]:
        path.swallow()
    await user.send(b"into the void")
    assert await user.receive(13) == b"into the void"
    assert torn.resumed.resumes == 1


@one_mux
async def test_a_silent_connection_is_replaced_although_the_client_has_nothing_to_send(any_net: Net) -> None:
    any_net.patience = {"unacknowledged": 0.3, "look": 0.05}
    listener = any_net.listen()
    torn = await Torn.start(any_net, pool=1, target=listener.port)
    user = await any_net.dial(torn.port)
    target = await listener.accept()
    await target.send(b"hello")
    assert await user.receive(5) == b"hello"
    for path in torn.middlebox.paths[1:]:
        path.swallow()
    await user.send(b"upload")
    assert await target.receive(6) == b"upload"
    assert torn.resumed.resumes == 1


@every_mux
async def test_a_control_channel_that_only_the_client_believes_in_is_replaced(any_net: Net) -> None:
    any_net.patience = {"unacknowledged": 0.3, "look": 0.05}
    any_net.timings = {"suspicion": 0.1}
    torn = await Torn.start(any_net, pool=1)
    user = await torn.user()
    for path in torn.middlebox.paths:
        await path.forget()
    await until(lambda: not torn.server.state().session.connected)
    await echo(user, b"into the void")
    assert torn.client.tunnel.opened == 2


@one_mux
async def test_users_do_not_wait_for_the_long_pauses_of_a_client_whose_server_is_away(any_net: Net) -> None:
    any_net.timings = {"urgent": 0.05}
    torn = await Torn.start(any_net, client="retry_interval = 3600")
    user = await torn.user()
    torn.middlebox.refuses = True
    await torn.cut(control=True)
    await until(lambda: torn.client.tunnel.standing.failures >= 3)
    torn.middlebox.refuses = False
    await echo(user, b"hello")


@every_mux
@every_form
async def test_connections_are_replaced_while_bytes_move(any_net: Net, form: str) -> None:
    any_net.patience = {"look": 0.02}
    torn = await Torn.start(any_net, client=f"mux_max_bytes = 1\n{form}", pool=1)
    user = await torn.user()
    while torn.resumed.rotations < 3:
        assert await exchange(user) == BULK


@one_mux
async def test_old_connections_are_replaced(any_net: Net) -> None:
    any_net.patience = {"look": 0.02}
    torn = await Torn.start(any_net, client="mux_max_age = 1", pool=2)
    user = await torn.user()
    await until(lambda: torn.resumed.rotations >= 2)
    await echo(user, b"hello")

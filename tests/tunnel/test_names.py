"""Host names and link-local addresses of targets and of the server."""

from pathlib import Path

import pytest
from tests.support.apart import run_apart, separable
from tests.support.datagrams import FLOWS
from tests.support.names import Names
from tests.support.net import HOST, echo, free_port, until
from tests.support.tunnel import Net

SILENT = [f"silent{number}.example" for number in range(70)]


@pytest.fixture
def names() -> Names:
    return Names(server_example=HOST, fast_example=HOST)


async def test_users_of_a_silent_name_delay_no_others(net: Net, names: Names) -> None:
    bind_port, silent_port, fast_port = free_port(), free_port(), free_port()
    await net.server(bind_port, [f"{silent_port}=silent.example:80", f"{fast_port}=fast.example:{await net.echo()}"])
    client = await net.client(bind_port, host="server.example", names=names)
    await until(lambda: client.tunnel.connected)
    unlucky = [await net.dial(silent_port) for _ in range(200)]
    await until(lambda: names.asked["silent.example"])
    await echo(await net.dial(fast_port), b"hello")
    assert all(user.silent() for user in unlucky)
    assert names.asked["silent.example"] == 1
    names.let_go()


async def test_the_client_reconnects_while_names_of_targets_hang(any_net: Net, names: Names) -> None:
    """There are more of these names than the resolver of targets looks up at a time."""
    bind_port = free_port()
    ports = {free_port(): f"{name}:80" for name in SILENT}
    server = await any_net.server(bind_port, [f"{port}={target}" for port, target in ports.items()])
    client = await any_net.client(bind_port, host="server.example", names=names)
    await until(lambda: client.tunnel.connected)
    users = [await any_net.dial(port) for port in ports]
    await until(lambda: sum(map(names.asked.__getitem__, SILENT)) >= 64)
    client.tunnel.control_lost("the network has changed")
    await until(lambda: client.tunnel.opened == 2)
    await until(lambda: server.tunnel.connected)
    assert any(user.silent() for user in users)
    names.let_go()


@pytest.mark.skipif(not separable(), reason="needs root and Linux's namespaces for a name server that is silent")
def test_the_same_with_a_real_name_server_that_is_silent(tmp_path: Path) -> None:
    (tmp_path / "resolv.conf").write_text("nameserver 127.0.0.1\noptions timeout:20\n")
    (tmp_path / "hosts").write_text("127.0.0.1 localhost fast.example server.example\n")
    mounts = (f"mount --bind {tmp_path}/{name} /etc/{name}" for name in ("resolv.conf", "hosts"))
    said, complaints = run_apart("silent_name_server", *mounts)
    assert said == "served\nback\n", complaints


@pytest.mark.skipif(not separable(), reason="needs root and Linux's namespaces for a link-local address")
def test_link_local_addresses() -> None:
    """All addresses that a configuration names are unusable without their interface."""
    said, complaints = run_apart("link_local", "ip address add fe80::a/64 dev lo nodad")
    assert said.splitlines() == [*FLOWS, "3 of 3 addresses free to listen on"], complaints

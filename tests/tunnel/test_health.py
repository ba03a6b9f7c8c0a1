"""Health checks of groups, which the clients make."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from tests.support.clients import Company, table
from tests.support.net import HOST, free_port, until
from tests.support.tunnel import LEGACY, Net

from backhaul.config.diff import diff

V1 = b"PROXY UNKNOWN\r\n"
V2 = b"\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00"
"""The command LOCAL, which HAProxy's own checks send."""


class Web:
    """A web server whose answer the test sets."""

    def __init__(self) -> None:
        self.port = free_port()
        self.status = "200 OK"
        self.paths: list[str] = []
        self.stuck = False
        self.preface = b""
        self.begun = 0
        """Connections that have begun with ``preface``."""

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            self.begun += await reader.readexactly(len(self.preface)) == self.preface
            head = await reader.readuntil(b"\r\n\r\n")
            self.paths.append(head.split()[1].decode())
            while self.stuck and await reader.read(1):
                pass
            writer.write(f"HTTP/1.1 {self.status}\r\nContent-Length: 0\r\n\r\n".encode())
            await writer.drain()
        writer.close()


@contextlib.asynccontextmanager
async def serving(web: Web) -> AsyncIterator[Web]:
    server = await asyncio.start_server(web.answer, HOST, web.port)
    try:
        yield web
    finally:
        server.close()


async def group_of(net: Net, target: int, health: str, own: str = "") -> Company:
    """Start a server and a client, the only one of a group with this health check, made each second."""
    company = Company(net)
    await company.open(["berlin"])
    await adopt(company, target, health, own)
    return company


async def adopt(
    company: Company, target: int, health: str, own: str = "", *, balance: str = "least", lines: str = ""
) -> None:
    group = (
        f'[server.groups.panel]\nports = ["{HOST}:{company.bind_port - 1}={target}"]\nclients = ["berlin", "idle"]\n'
        f'health = "{health}"\nhealth_interval = 1\nbalance = "{balance}"\n'
    )
    new = company.config(f"{lines}\n{group}{table('idle')}", {"berlin": own})
    await company.server.reconfigure(new, diff(company.server.config, new))


def problem(company: Company) -> str:
    (group,) = company.server.state().groups
    (berlin, _) = group.members
    assert berlin.state == ("unhealthy" if berlin.problem else "ready")
    return berlin.problem


@pytest.mark.parametrize("transport", ["tcp", "wsmux"])
async def test_a_client_whose_target_answers_badly_is_unhealthy(
    transport: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with Net(transport) as net, serving(Web()) as web:
        web.status = "503 Busy"
        company = await group_of(net, web.port, "http:/healthz?a=b")
        await company.connect("berlin")
        await until(lambda: problem(company) == "answered HTTP/1.1 503 Busy")
        assert "client berlin of group panel is unhealthy, and gets no users: answered HTTP/1.1 503 Busy" in caplog.text
        web.status = "204 No Content"
        await until(lambda: not problem(company))
        assert set(web.paths) == {"/healthz?a=b"}


@pytest.mark.parametrize(("version", "preface"), [("v1", V1), ("v2", V2)], ids=["v1", "v2"])
@pytest.mark.parametrize("health", ["http:/", "tcp"])
async def test_a_check_begins_with_the_proxy_header_that_the_target_expects(
    version: str, preface: bytes, health: str
) -> None:
    async with Net("ws") as net, serving(Web()) as web:
        web.preface = preface
        company = await group_of(net, web.port, health)
        await company.connect("berlin")
        await adopt(company, web.port, health, lines=f'proxy_protocol = "{version}"')
        await until(lambda: web.begun > 1 and not problem(company))


async def test_a_target_that_refuses_connections_is_unhealthy() -> None:
    async with Net("tcp") as net:
        company = await group_of(net, target := free_port(), "tcp")
        await company.connect("berlin")
        await until(lambda: "refused" in problem(company))
        await net.echo(port=target)
        await until(lambda: not problem(company))


async def test_users_of_a_group_without_a_healthy_client_are_refused() -> None:
    async with Net("tcp") as net, serving(Web()) as web:
        company = await group_of(net, web.port, "http:/")
        web.status = "500 Broken"
        await company.connect("berlin")
        await company.server.drain("idle")
        group = company.server.groups["panel"]
        await until(lambda: group.ports.refusing)
        web.status = "200 OK"
        await until(lambda: not group.ports.refusing)


async def test_a_reload_begins_and_ends_checks() -> None:
    async with Net("tcp") as net, serving(Web()) as web:
        company = await group_of(net, web.port, "")
        await company.connect("berlin")
        web.status = "500 Broken"
        await adopt(company, web.port, "http:/")
        await until(lambda: "500" in problem(company))
        await adopt(company, web.port, "http:/", "max_connections = 9")
        assert problem(company)  # a change of something else leaves it as it is
        await adopt(company, web.port, "http:/", balance="order")
        assert problem(company)
        await adopt(company, web.port, "")
        assert not problem(company)


async def test_an_unhealthy_client_that_returns_gets_no_users_before_a_good_check() -> None:
    async with Net("tcp") as net, serving(Web()) as web:
        web.status = "500 Broken"
        company = await group_of(net, web.port, "http:/")
        await company.connect("berlin")
        await until(lambda: problem(company))
        web.stuck = True
        await net.stop(company.clients["berlin"])
        await until(lambda: not company.server.tunnels["berlin"].connected)
        await company.connect("berlin")
        assert "500" in problem(company)
        await net.stop(company.clients["berlin"])
        await until(lambda: not company.server.tunnels["berlin"].connected)
        await company.connect("berlin", LEGACY)
        assert not problem(company)


async def test_a_client_makes_no_checks_that_it_does_not_allow() -> None:
    async with Net("tcp") as net, serving(Web()) as web:
        company = await group_of(net, web.port, "tcp")
        await company.connect("berlin", 'allow_targets = [":1"]')
        await until(lambda: problem(company) == "the client does not allow this target")
        assert not web.paths


async def test_a_client_of_v072_is_healthy_while_it_is_connected() -> None:
    async with Net("tcp") as net:
        company = await group_of(net, free_port(), "tcp")
        await company.connect("berlin", LEGACY)
        assert not problem(company)

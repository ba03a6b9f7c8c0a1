"""The doctor on the way to the server: each fault has its finding, and the finding its remedy."""

import asyncio
import functools
import re
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from tests.support.cert import certificate
from tests.support.doctor import SOON, answering, around, only, travel, verdicts
from tests.support.forward_proxy import ForwardProxy
from tests.support.names import Names
from tests.support.net import HOST, Peer, free_port
from tests.support.public import Public
from tests.support.tunnel import TOKEN, Net, client_config

from backhaul import __version__
from backhaul.doctor import line, nat
from backhaul.doctor.channel import Opener
from backhaul.doctor.client import checks
from backhaul.doctor.diagnosis import diagnose
from backhaul.doctor.envelopes import Silence
from backhaul.doctor.exchange import Answered, Asker
from backhaul.doctor.finding import Finding, Verdict
from backhaul.doctor.names import Place
from backhaul.doctor.reach import connected
from backhaul.net.tcp_info import TcpInfo
from backhaul.security.hello import ServerHello
from backhaul.transports.auth import ForgetfulMemory
from backhaul.transports.doors.handshake import Seen

FINE = {Verdict.OK}


async def rides(net: Net, lines: str = "", server: str = "", **keys: Any) -> list[Finding]:  # noqa: ANN401 - any key
    """Start a server, and return the findings of a client."""
    port = free_port()
    await net.server(port, lines=server)
    return await travel(client_config(net.transport, f"{HOST}:{port}", lines, **keys))


async def answered(net: Net, answer: bytes, transport: str) -> list[Finding]:
    """Return the findings about a server that gives this answer to everything, and closes."""
    listener = net.listen()

    async def serve() -> None:
        while True:
            peer = await listener.accept()
            if await peer.receive_some() and answer:
                await peer.send(answer)
            peer.close()

    serving = asyncio.ensure_future(serve())
    try:
        return await travel(client_config(transport, f"{HOST}:{listener.port}"), waits=SOON)
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)


async def test_each_server_of_a_client_is_examined(net: Net) -> None:
    ports = free_port(), free_port(), free_port()
    for port in ports[:2]:
        await net.server(port)
    others = ", ".join(f'{{ addr = "{HOST}:{port}" }}' for port in ports[1:])
    config = client_config("tcp", f"{HOST}:{ports[0]}", f"servers = [{others}]")
    found = verdicts(await diagnose(checks(config, around(waits=SOON)), 10))
    assert found["handshake"] is found[f"handshake of {HOST}:{ports[1]}"] is Verdict.OK
    assert found[f"tcp of {HOST}:{ports[2]}"] is Verdict.FAULT


class TestRight:
    async def test_nothing_is_wrong(self, any_net: Net) -> None:
        found = await rides(any_net)
        expected = ["name", "tcp", *(["tls"] if "wss" in any_net.transport else []), "handshake", "clock", "packets"]
        assert [finding.subject for finding in found] == [*expected, "line"]
        young = [one for one in found if one.text.startswith("the certificate expires in")]  # that of the tests
        assert set(verdicts(one for one in found if one not in young).values()) == FINE
        assert f"token and transport {any_net.transport} fit, both ends run {__version__}" in found[-4].text
        ((_, sent),) = re.findall(r"(\d+) of (\d+) packets sent again", found[-1].text)
        assert int(sent) > line.SAMPLES * line.PACKETS

    async def test_udp(self, net: Net) -> None:
        net.transport = "udp"
        assert set(verdicts(await rides(net)).values()) == FINE

    async def test_the_session_of_the_running_client_stays(self, net: Net, caplog: pytest.LogCaptureFixture) -> None:
        tunnel = await net.tunnel(await net.echo(), server='security = "required"', client='security = "required"')
        caplog.clear()
        config = client_config("tcp", f"{HOST}:{tunnel.bind_port}", 'security = "required"')
        found = await travel(config, programs=({"connected": True},))
        assert set(verdicts(found).values()) == FINE
        assert tunnel.connected
        assert tunnel.client.session().opened == 1
        assert not [line for line in caplog.records if line.levelname not in {"DEBUG", "INFO"}]

    async def test_a_second_token_that_the_server_has(self, net: Net) -> None:
        found = await rides(net, f'tokens = ["an older one", "{TOKEN}"]')
        finding = only(found, Verdict.WARNING)
        assert finding.text == "the server has token 2 of 2, and not those before it"
        assert verdicts(found)["packets"] is Verdict.OK


class TestName:
    async def look_up(self, names: Callable[[str], Any]) -> Finding:
        return only(await travel(client_config("tcp", "server.example:1"), names=names, waits=SOON))

    async def test_no_such_name(self) -> None:
        def names(_name: str) -> Any:  # noqa: ANN401 - never returns
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

        finding = await self.look_up(names)
        assert finding.text == "server.example: no such name, or it has no address"
        assert finding.remedy == "correct remote_addr, or the name's DNS record"

    async def test_a_name_server_that_fails(self) -> None:
        def names(_name: str) -> Any:  # noqa: ANN401 - never returns
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

        finding = await self.look_up(names)
        assert "temporary failure" in finding.text
        assert "/etc/resolv.conf" in finding.remedy

    async def test_a_name_server_that_does_not_answer(self) -> None:
        silent = Names()
        finding = await self.look_up(silent)
        silent.let_go()
        assert "the name server does not answer within 0.1 s" in finding.text
        assert "/etc/resolv.conf" in finding.remedy

    async def test_an_address_on_an_interface_that_does_not_exist(self) -> None:
        finding = only(await travel(client_config("tcp", "[fe80::1%none0]:1")))
        assert finding.text == "fe80::1%none0: no interface none0"
        assert finding.remedy == "correct the interface in remote_addr, or bring it up"

    async def test_every_address_is_named_and_tried(self, public: Public) -> None:
        config = client_config("tcp", f"server.example:{public.port}")
        found = await travel(config, names=answering(HOST, "::1"))
        assert found[0].text.startswith("server.example: 2 addresses: 127.0.0.1 (IPv4), ::1 (IPv6) in ")
        finding = only(found, Verdict.WARNING)
        assert finding.text == f"[::1]:{public.port}: refused: nothing listens on this port"
        assert verdicts(found)["handshake"] is Verdict.OK


class TestTcp:
    async def test_nothing_listens(self) -> None:
        port = free_port()
        finding = only(await travel(client_config("tcp", f"{HOST}:{port}")))
        assert finding.text == f"{HOST}:{port}: refused: nothing listens on this port"
        assert finding.remedy == "start the server, or correct the address and its port"

    async def test_a_firewall_drops_everything(self, net: Net) -> None:
        listener = net.listen(backlog=0)
        await net.dial(listener.port)  # fills the queue, so that the kernel drops further connections
        finding = only(await travel(client_config("tcp", f"{HOST}:{listener.port}"), waits=SOON))
        assert finding.text == f"{HOST}:{listener.port}: no answer"
        assert f"open TCP port {listener.port} in the firewalls" in finding.remedy


class TestHandshake:
    @pytest.mark.parametrize("transport", ["tcp", "ws"])
    async def test_a_wrong_token(self, net: Net, transport: str) -> None:
        net.transport = transport
        finding = only(await rides(net, 'token = "another one"'))
        assert "compare token" in finding.remedy

    async def test_another_transport(self, public: Public) -> None:
        finding = only(await travel(client_config("tcpmux", f"{HOST}:{public.port}")))
        assert finding.text == "the server has this token, and refuses: the client runs tcpmux, this server tcp"
        assert finding.remedy == "set the same transport on both ends"

    @pytest.mark.parametrize(
        ("transport", "answer", "text", "remedy"),
        [
            ("tcp", b"", "closed the connection without an answer", "compare token and transport"),
            ("tcp", b"SSH-2.0-OpenSSH_9.2\r\n", 'not Backhaul: it sent "SSH-2.0-OpenSSH_9.2"', "compare token"),
            ("tcp", b"HTTP/1.1 400 Bad Request\r\n\r\n", 'sent "HTTP/1.1 400 Bad Request"', "ws, wss, wsmux or wssmux"),
            ("ws", b"SSH-2.0-OpenSSH_9.2\r\n", 'does not speak HTTP: it sent "SSH-2.0-OpenSSH_9.2"', "compare token"),
            ("ws", b"HTTP/1.1 404 Not Found\r\n\r\n", "the server answered 404", "compare token, path and transport"),
            ("ws", b"HTTP/1.1 502 Bad Gateway\r\n\r\n", "a proxy in between answered 502", "start the server, and let"),
            ("ws", b"HTTP/1.1 500 Error\r\n\r\n", "a proxy in between answered 500", "start the server, and let"),
            ("ws", b"HTTP/1.1 401 Who\r\nWWW-Authenticate: Basic\r\n\r\n", "demands a login", "exempt the path of"),
            ("ws", b"HTTP/1.1 400 Bad Request\r\n\r\n", "the server answered 400", 'set transport = "wss"'),
        ],
    )
    async def test_something_else_answers(
        self, net: Net, transport: str, answer: bytes, text: str, remedy: str
    ) -> None:
        finding = only(await answered(net, answer, transport))
        assert text in finding.text
        assert not finding.text.endswith("?")
        assert remedy in finding.remedy

    async def test_a_server_that_never_answers(self, net: Net) -> None:
        listener = net.listen()
        finding = only(await travel(client_config("ws", f"{HOST}:{listener.port}"), waits=SOON))
        assert finding.text == "the server accepts connections, but does not answer"
        assert "does it run ws?" in finding.remedy

    async def test_v072_over_http(self, net: Net) -> None:
        found = await answered(net, b"HTTP/1.1 401 Unauthorized\r\n\r\n", "ws")
        finding = only(found, Verdict.WARNING)
        assert finding.text == "the server answered 401, as v0.7.2 does"
        assert Verdict.FAULT not in verdicts(found).values()

    async def test_a_connected_client_of_v072_is_left_alone(self, net: Net) -> None:
        listener = net.listen()
        config = client_config("tcp", f"{HOST}:{listener.port}")
        found = await travel(config, programs=({"connected": True},))
        assert [finding.subject for finding in found] == ["name", "tcp"]
        assert only(found, Verdict.SKIPPED).remedy == "stop the program to check the way to the server"
        listener.sock.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.sock.accept()

    async def test_a_server_that_was_protected_before_is_asked(self, public: Public) -> None:
        known = ForgetfulMemory()
        known.remember(f"{HOST}:{public.port}")
        found = await travel(
            client_config("tcp", f"{HOST}:{public.port}"), programs=({"connected": True},), known=known
        )
        assert set(verdicts(found).values()) == FINE

    async def test_the_way_of_v072_is_not_tried(self, public: Public) -> None:
        found = await travel(client_config("tcp", f"{HOST}:{public.port}", 'security = "legacy"'))
        assert "would take a check for the client" in only(found, Verdict.SKIPPED).text


class TestClock:
    @pytest.mark.parametrize(
        ("off", "text"),
        [
            (-7200, "this machine's clock is 2 h behind the server's"),
            (90000, "this machine's clock is 1 d ahead of the server's"),
        ],
    )
    async def test_the_clock_is_wrong(self, public: Public, off: float, text: str) -> None:
        found = await travel(client_config("tcp", f"{HOST}:{public.port}"), now=lambda: time.time() + off)
        finding = only(found, Verdict.WARNING)
        assert finding.text == text
        assert "timedatectl set-ntp true" in finding.remedy

    async def test_another_server_tells_the_time(self, net: Net) -> None:
        head = b"HTTP/1.1 404 Not Found\r\nDate: Wed, 01 Jan 2020 00:00:00 GMT\r\n\r\n"
        found = await answered(net, head, "ws")
        assert "d ahead of the server's" in only(found, Verdict.WARNING).text


class _SmallPipe:
    """A line to a server on which large packets are lost, and the router's ICMP messages too."""

    def __init__(self, net: Net, port: int, largest: int) -> None:
        self._net = net
        self._port = port
        self._largest = largest
        self.listener = net.listen()
        self.tasks = [asyncio.ensure_future(self._accept())]

    async def _accept(self) -> None:
        while True:
            self.tasks.append(asyncio.ensure_future(self._carry(await self.listener.accept())))

    async def _carry(self, client: Peer) -> None:
        segment = client.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG)
        request = await client.receive_some()
        if len(request) < self._largest or segment <= self._largest:
            server = await self._net.dial(self._port)
            await server.send(request)
            await client.send(await server.receive_all())
            client.close()

    async def close(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


class TestPackets:
    @pytest.fixture
    async def small(self, net: Net, public: Public) -> Any:  # noqa: ANN401 - a generator
        line = _SmallPipe(net, public.port, 1350)
        yield line
        await line.close()

    async def test_large_packets_are_lost(self, small: _SmallPipe) -> None:
        found = await travel(client_config("tcp", f"{HOST}:{small.listener.port}"), waits=SOON)
        finding = only(found)
        # Timestamps take 12 bytes of each packet.
        assert (
            finding.text
            == "packets with more than 1348 bytes of payload are lost, and their sender learns nothing of it"
        )
        assert finding.remedy == "set mss = 1360 on both ends, or let ICMP pass the firewalls in between"

    async def test_mss_is_the_remedy(self, small: _SmallPipe) -> None:
        found = await travel(client_config("tcp", f"{HOST}:{small.listener.port}", "mss = 1360"), waits=SOON)
        assert verdicts(found)["packets"] is Verdict.OK


class TestProxy:
    @pytest.fixture
    async def behind(
        self, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
    ) -> AsyncIterator[ForwardProxy]:
        proxy, (cert, key) = ForwardProxy(request.param, "user:right"), certificate()
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(cert, key)
        monkeypatch.setenv("SSL_CERT_FILE", str(cert))  # an authority of the system
        await proxy.start(tls if proxy.kind == "https" else None)
        yield proxy
        await proxy.stop()

    @pytest.mark.both_loops
    @pytest.mark.parametrize("behind", ["http", "socks5", "socks5h"], indirect=True)
    async def test_all_checks_pass_it(self, public: Public, behind: ForwardProxy) -> None:
        config = client_config("tcp", f"{HOST}:{public.port}", f'proxy = "{behind.url("user:right")}"')
        found = await travel(config)
        assert set(verdicts(found).values()) == FINE
        assert [finding.subject for finding in found][:4] == ["name", "tcp", "proxy", "handshake"]
        assert found[2].text.startswith(f"{behind.url()} connects to {HOST}:{public.port} in ")
        assert found[-2].text.startswith("packets with ")

    @pytest.mark.parametrize("behind", ["http", "socks5"], indirect=True)
    async def test_a_wrong_login(self, public: Public, behind: ForwardProxy) -> None:
        config = client_config("tcp", f"{HOST}:{public.port}", f'proxy = "{behind.url("user:wrong")}"')
        finding = only(await travel(config))
        assert (finding.subject, "wrong user name or password" in finding.text) == ("proxy", True)
        assert finding.remedy.startswith("correct the key proxy and its login")
        assert "user:wrong" not in finding.text

    @pytest.mark.parametrize("behind", ["https"], indirect=True)
    async def test_one_over_tls(self, public: Public, behind: ForwardProxy) -> None:
        config = client_config("tcp", f"{HOST}:{public.port}", f'proxy = "{behind.url("user:right")}"')
        found = await travel(config)
        texts = {finding.subject: finding.text for finding in found if finding.verdict is Verdict.OK}
        assert texts["proxy"].startswith(f"{behind.url()} connects to {HOST}:{public.port} in ")
        assert texts["packets"] == "large messages pass"  # the figures of a bridge would tell nothing
        assert texts["line"].endswith("loss unknown")


async def test_an_interface_that_does_not_exist(public: Public) -> None:
    finding = only(await travel(client_config("tcp", f"{HOST}:{public.port}", 'bind_interface = "none0"')))
    assert 'bind_interface = "none0": this machine has no such interface at the moment' in finding.text
    assert finding.remedy == "correct the name, or bring it up"


class Forgetful(Asker):
    """Asks a server behind a NAT that forgets connections after a silence of ``memory`` seconds."""

    def __init__(self, memory: float) -> None:
        connect = functools.partial(connected, Place(socket.AF_INET, (HOST, 1)), 1.0)
        super().__init__(Opener(client_config("tcp", f"{HOST}:1"), SOON, connect), Seen())
        self.memory = memory

    async def ask(
        self, token: str, within: float, *, padding: int = 0, mss: int = 0, delay: float = 0
    ) -> Answered | Silence:
        del token, within, padding, mss
        if delay > self.memory:
            raise TimeoutError
        return Answered(ServerHello(), delay, TcpInfo())


class TestNat:
    async def test_connections_survive(self, public: Public) -> None:
        found = await travel(client_config("tcp", f"{HOST}:{public.port}"), silences=(0.01, 0.02))
        assert (found[-1].subject, found[-1].verdict) == ("nat", Verdict.OK)

    async def test_a_server_that_knows_no_delay(self) -> None:
        assert (await nat.examine(Forgetful(-1), TOKEN, (0.0, 1.0))).verdict is Verdict.SKIPPED

    @pytest.mark.parametrize(
        ("memory", "verdict", "text", "remedy"),
        [
            (999, Verdict.OK, "an idle connection survives for 2 min", ""),
            (30, Verdict.OK, "an idle connection survives for 20 s, and is lost within 40 s; the tunnel probes", ""),
            (
                12,
                Verdict.FAULT,
                "an idle connection survives for 10 s, and is lost within 20 s",
                "keepalive_period = 5",
            ),
        ],
    )
    async def test_a_nat_that_forgets(self, memory: float, verdict: Verdict, text: str, remedy: str) -> None:
        found = await nat.examine(Forgetful(memory), TOKEN, nat.DELAYS)
        assert found.verdict is verdict
        assert found.text.startswith(text)
        assert remedy in found.remedy

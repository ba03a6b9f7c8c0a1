"""Protected sessions on transports over HTTP: unauthenticated peers are visitors, and get the decoy."""

import asyncio
from dataclasses import replace

import pytest
from tests.support.net import cuts, free_port, until
from tests.support.protected_client import ProtectedVisitor, ask, begin, client_settings, upgraded_with
from tests.support.tunnel import TOKEN, Net
from tests.support.web import receive_head, upgraded, with_token

from backhaul.errors import TransportError
from backhaul.server import Server
from backhaul.transports.auth import Security
from backhaul.transports.doors.handshake import Seen
from backhaul.wire.peer import EXTENSIONS
from backhaul.wire.upgrade import RefusedError

REPLACED = "replaced the connected one"
ELSEWHERE = Seen(bytes(32))  # TLS of an attacker in between
VOUCHED = Seen(bytes(32), verified=True)


@pytest.fixture(params=["ws", "wsmux"])
def web_net(net: Net, request: pytest.FixtureRequest) -> Net:
    net.transport = request.param
    return net


async def started(net: Net, lines: str = "") -> tuple[Server, int]:
    """Start a server; return it with its port."""
    port = free_port()
    return await net.server(port, lines=lines), port


async def shown_decoy(net: Net, port: int, message: bytes, path: str = "/channel") -> None:
    """Assert that a sealed message is that of a visitor."""
    with pytest.raises(RefusedError, match="answered 404"):
        await upgraded_with(net, port, message, path)


class TestHandshake:
    async def test_both_ends_agree_once_the_client_has_confirmed(self, web_net: Net) -> None:
        server, port = await started(web_net)
        client = await ProtectedVisitor.dial(web_net, port)
        assert client.agreement.terms.server.features == EXTENSIONS
        assert not server.tunnel.connected
        await client.confirm()
        assert server.tunnel.connected

    async def test_byte_by_byte(self, web_net: Net) -> None:
        _, port = await started(web_net)
        handshake = begin(web_net.transport)
        request, reader = ask(handshake.message)
        control = await web_net.dial(port)
        for byte in cuts(request, 1):
            await control.send(byte)
            await asyncio.sleep(0)
        answer = reader.feed(await receive_head(control))
        assert answer
        assert handshake.finish(answer.message)

    async def test_a_wrong_token_is_logged_as_such(self, web_net: Net, caplog: pytest.LogCaptureFixture) -> None:
        _, port = await started(web_net)
        handshake = begin(web_net.transport, client_settings(token="guess"))
        await shown_decoy(web_net, port, handshake.message)
        assert "refused a connection from 127.0.0.1: wrong token" in caplog.text

    async def test_a_request_whose_cookie_a_proxy_has_removed_is_logged_as_such(
        self, web_net: Net, caplog: pytest.LogCaptureFixture
    ) -> None:
        _, port = await started(web_net)
        await shown_decoy(web_net, port, b"")
        assert "the request has no token; a proxy in between may have removed its Cookie" in caplog.text
        assert "wrong token" not in caplog.text

    async def test_a_changed_message_and_one_for_another_envelope(self, web_net: Net) -> None:
        _, port = await started(web_net)
        message = begin(web_net.transport).message
        for place in (0, 31, 32, len(message) - 1):
            changed = bytearray(message)
            changed[place] ^= 1
            await shown_decoy(web_net, port, bytes(changed))
        await shown_decoy(web_net, port, message[:-1])
        await shown_decoy(web_net, port, begin("tcp").message)
        await upgraded_with(web_net, port, message)

    async def test_many_wrong_messages_do_not_lock_a_neighbour_out(
        self, web_net: Net, caplog: pytest.LogCaptureFixture
    ) -> None:
        _, port = await started(web_net)
        for number in range(31):
            await shown_decoy(web_net, port, bytes([number]) * 60)
        assert caplog.text.count("too many failed attempts") == 1
        await (await ProtectedVisitor.dial(web_net, port)).confirm()

    async def test_a_recording_gets_the_decoy_and_changes_nothing(
        self, web_net: Net, caplog: pytest.LogCaptureFixture
    ) -> None:
        server, port = await started(web_net)
        client = await (await ProtectedVisitor.dial(web_net, port)).confirm()
        await shown_decoy(web_net, port, client.first)
        await client.confirm()
        assert REPLACED not in caplog.text
        assert server.tunnel.connected

    async def test_an_old_session_stays_until_the_new_one_is_confirmed(
        self, web_net: Net, caplog: pytest.LogCaptureFixture
    ) -> None:
        _, port = await started(web_net)
        first = await (await ProtectedVisitor.dial(web_net, port)).confirm()
        second = await ProtectedVisitor.dial(web_net, port)
        await first.confirm()
        assert REPLACED not in caplog.text
        await second.confirm()
        assert await first.control.closed()
        assert REPLACED in caplog.text

    async def test_a_client_that_does_not_confirm_is_closed(self, web_net: Net) -> None:
        _, port = await started(web_net)
        client = await ProtectedVisitor.dial(web_net, port)
        assert await client.control.closed()
        await shown_decoy(web_net, port, client.admission(), "/tunnel/1")

    async def test_a_request_without_upgrade_proves_nothing(self, web_net: Net) -> None:
        _, port = await started(web_net)
        message = begin(web_net.transport).message
        request, _ = ask(message)
        visitor = await web_net.dial(port)
        await visitor.send(request.replace(b"Upgrade: websocket\r\n", b""))
        assert (await receive_head(visitor)).startswith(b"HTTP/1.1 404 ")
        await upgraded_with(web_net, port, message)


class TestSecurity:
    async def test_a_token_in_clear_is_refused_where_protection_is_required(
        self, web_net: Net, caplog: pytest.LogCaptureFixture
    ) -> None:
        _, port = await started(web_net, 'security = "required"')
        visitor = await web_net.dial(port)
        await visitor.send(with_token())
        assert (await receive_head(visitor)).startswith(b"HTTP/1.1 404 ")
        assert TOKEN not in caplog.text
        await (await ProtectedVisitor.dial(web_net, port)).confirm()

    async def test_sealed_messages_are_nothing_to_v072(self, web_net: Net) -> None:
        _, port = await started(web_net, 'security = "legacy"')
        await shown_decoy(web_net, port, begin(web_net.transport).message)
        await upgraded(web_net, port)

    async def test_a_client_without_protection_is_warned_of(
        self, web_net: Net, caplog: pytest.LogCaptureFixture
    ) -> None:
        _, port = await started(web_net)
        await upgraded(web_net, port)
        assert "client 127.0.0.1 is not protected" in caplog.text

    async def test_tls_that_ends_in_between_is_refused_where_protection_is_required(
        self, web_net: Net, caplog: pytest.LogCaptureFixture
    ) -> None:
        server, port = await started(web_net)
        required = client_settings(security=Security.REQUIRED)
        with pytest.raises(TransportError, match="TLS is terminated between client and server; if that is your CDN"):
            await ProtectedVisitor.dial(web_net, port, required, ELSEWHERE)
        assert "TLS is terminated between client and server" in caplog.text
        assert not server.tunnel.connected

    async def test_tls_that_ends_in_between_seals_payload_and_warns_both_ends(
        self, web_net: Net, caplog: pytest.LogCaptureFixture
    ) -> None:
        _, port = await started(web_net)
        client = await ProtectedVisitor.dial(web_net, port, seen=ELSEWHERE)
        assert client.agreement.terms.keys.payload
        assert "set tls_verify = true on the client" in client.agreement.warning
        assert client.agreement.warning in caplog.text

    @pytest.mark.parametrize("security", [Security.AUTO, Security.REQUIRED])
    async def test_an_authority_vouches_for_tls_that_ends_in_between(self, web_net: Net, security: Security) -> None:
        _, port = await started(web_net)
        client = await ProtectedVisitor.dial(web_net, port, client_settings(security=security), VOUCHED)
        assert not client.agreement.terms.keys.payload
        assert not client.agreement.warning

    async def test_payload_is_sealed_behind_a_cdn_if_it_is_asked_for(self, web_net: Net) -> None:
        _, port = await started(web_net, "encryption = true")
        client = await ProtectedVisitor.dial(web_net, port, seen=VOUCHED)
        assert client.agreement.terms.keys.payload


class TestRefusals:
    @pytest.mark.parametrize(("transport", "theirs"), [("wsmux", "wsmux"), ("wssmux", "wssmux"), ("tcp", "tcp")])
    async def test_another_transport(
        self, net: Net, caplog: pytest.LogCaptureFixture, transport: str, theirs: str
    ) -> None:
        net.transport = "ws"
        _, port = await started(net)
        if transport == "tcp":
            await shown_decoy(net, port, begin(transport).message)
            return
        net.transport = transport
        reason = f"the client runs {theirs}, this server ws; set the same transport on both ends"
        with pytest.raises(TransportError, match=reason):
            await ProtectedVisitor.dial(net, port)
        await until(lambda: reason in caplog.text)


class TestAdmission:
    async def test_it_counts_once(self, web_net: Net) -> None:
        server, port = await started(web_net)
        client = await (await ProtectedVisitor.dial(web_net, port)).confirm()
        admission = client.admission()
        await upgraded_with(web_net, port, admission, "/tunnel/1")
        await until(lambda: server.tunnel.transport.idle == 1)
        await shown_decoy(web_net, port, admission, "/tunnel/1")
        assert server.tunnel.transport.idle == 1

    async def test_before_the_confirmation_it_confirms(self, web_net: Net) -> None:
        server, port = await started(web_net)
        client = await ProtectedVisitor.dial(web_net, port)
        await upgraded_with(web_net, port, client.admission(), "/tunnel/1")
        await until(lambda: server.tunnel.connected)

    async def test_of_a_session_that_has_ended(self, web_net: Net, caplog: pytest.LogCaptureFixture) -> None:
        web_net.limits = replace(web_net.limits, changeover=0.0)
        server, port = await started(web_net)
        client = await (await ProtectedVisitor.dial(web_net, port)).confirm()
        client.control.close()
        await until(lambda: not server.tunnel.connected)
        await shown_decoy(web_net, port, client.admission(), "/tunnel/1")
        await until(lambda: "refused a connection from 127.0.0.1: it belongs to no client that is" in caplog.text)
        assert "wrong token" not in caplog.text

    async def test_it_is_no_handshake_nor_the_other_way_round(self, web_net: Net) -> None:
        _, port = await started(web_net)
        client = await (await ProtectedVisitor.dial(web_net, port)).confirm()
        await shown_decoy(web_net, port, client.admission())
        await shown_decoy(web_net, port, begin(web_net.transport).message, "/tunnel/1")

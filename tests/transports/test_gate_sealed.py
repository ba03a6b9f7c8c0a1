"""Protected sessions on the tunnel's port of a server: handshakes, admissions, and imitations of them."""

import asyncio
import secrets

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.net import cuts, until
from tests.support.protected_client import (
    ProtectedClient,
    answer_on,
    begin,
    client_settings,
    connected,
    framed,
    rejected,
)
from tests.support.public import Public
from tests.support.tunnel import TOKEN
from tests.support.v072 import HANDSHAKE, RTT

from backhaul.errors import TransportError
from backhaul.security import hello
from backhaul.security.hint import with_hint
from backhaul.security.noise import KEY_SIZE, Initiator, Shared
from backhaul.security.psk import pre_shared_key
from backhaul.transports.auth import Security
from backhaul.transports.doors.handshake import Seen
from backhaul.wire import base64url
from backhaul.wire.frames import Sealed, encode
from backhaul.wire.messages import encode_refusal
from backhaul.wire.peer import EXTENSIONS
from backhaul.wire.signals import Signal
from backhaul.wire.smux import Settings

OTHER_ADDRESS = "127.0.0.2"
REPLACED = "replaced the connected one"
BODIES = st.one_of(st.binary(max_size=120), st.binary(min_size=40, max_size=40), st.just(begin().message[:60]))


class TestHandshake:
    async def test_both_ends_agree(self, public: Public, caplog: pytest.LogCaptureFixture) -> None:
        client = await connected(public)
        terms = client.agreement.terms
        assert terms.server.features == EXTENSIONS
        assert not terms.keys.payload
        assert not client.agreement.warning
        assert "not protected" not in caplog.text

    async def test_cut_into_bytes(self, public: Public) -> None:
        handshake = begin()
        control = await public.tunnel_connection()
        for byte in cuts(framed(Sealed.HANDSHAKE, handshake.message), 1):
            await control.send(byte)
            await asyncio.sleep(0)
        assert handshake.finish(await answer_on(control))

    async def test_the_client_counts_once_it_has_confirmed(self, public: Public) -> None:
        client = await ProtectedClient.dial(public.net, public.port)
        assert client.control.silent()
        assert not public.server.tunnel.connected
        await client.confirm()
        assert public.server.tunnel.connected

    async def test_a_client_that_does_not_confirm_is_closed(self, public: Public) -> None:
        client = await ProtectedClient.dial(public.net, public.port)
        assert await client.control.receive_all() == b""
        await rejected(public, client.admission()[0])

    @pytest.mark.config("encryption = true")
    async def test_the_server_wants_payload_sealed(self, public: Public) -> None:
        assert (await connected(public)).agreement.terms.keys.payload

    async def test_the_client_wants_payload_sealed(self, public: Public) -> None:
        client = await ProtectedClient.dial(public.net, public.port, settings=client_settings(encryption=True))
        assert client.agreement.terms.keys.payload

    async def test_a_wrong_token(self, public: Public, caplog: pytest.LogCaptureFixture) -> None:
        handshake = begin(settings=client_settings(token="guess"))
        await rejected(public, framed(Sealed.HANDSHAKE, handshake.message))
        assert "refused a connection from 127.0.0.1: wrong token, or no Backhaul client" in caplog.text
        assert "guess" not in caplog.text

    async def test_a_handshake_of_a_version_that_sent_no_text(
        self, public: Public, caplog: pytest.LogCaptureFixture
    ) -> None:
        await rejected(public, encode(Sealed.HANDSHAKE.value, begin().message))
        assert "127.0.0.1: no Backhaul client, or one of another version: update the older end" in caplog.text

    async def test_a_message_for_another_envelope(self, public: Public) -> None:
        await rejected(public, framed(Sealed.HANDSHAKE, begin("ws").message))

    @pytest.mark.limits(failures=3)
    async def test_many_wrong_tokens_bar_an_address_and_lock_no_client_out(
        self, public: Public, caplog: pytest.LogCaptureFixture
    ) -> None:
        for _ in range(4):
            await rejected(public, framed(Sealed.HANDSHAKE, secrets.token_bytes(100)), OTHER_ADDRESS)
        assert caplog.text.count("127.0.0.2: too many failed attempts") == 1
        await connected(public, OTHER_ADDRESS)

    async def test_any_changed_byte_gets_no_answer(self, public: Public) -> None:
        handshake = begin()
        size = len(handshake.message)
        for place in (0, 16, 31, 32, 40, size - 17, size - 16, size - 1):
            changed = bytearray(handshake.message)
            changed[place] ^= 0x40
            await rejected(public, framed(Sealed.HANDSHAKE, bytes(changed)))
        for cut in (0, 1, 31, 32, 47, 48, size - 1):
            await rejected(public, framed(Sealed.HANDSHAKE, handshake.message[:cut]))
        control = await public.tunnel_connection()  # none of them keeps the right one out
        await control.send(framed(Sealed.HANDSHAKE, handshake.message))
        assert handshake.finish(await answer_on(control))

    async def test_a_changed_answer_is_none_of_the_server(self, public: Public) -> None:
        handshake = begin()
        control = await public.tunnel_connection()
        await control.send(framed(Sealed.HANDSHAKE, handshake.message))
        answer = bytearray(await answer_on(control))
        answer[-1] ^= 1
        with pytest.raises(TransportError):
            handshake.finish(bytes(answer))

    @pytest.mark.parametrize("source", ["", OTHER_ADDRESS])
    async def test_a_recording_gets_no_answer_and_changes_nothing(
        self, public: Public, caplog: pytest.LogCaptureFixture, source: str
    ) -> None:
        client = await connected(public)
        await rejected(public, client.first, source)
        await client.send(Signal.PROBE)
        await client.hear(Signal.ANSWER)
        assert REPLACED not in caplog.text

    async def test_an_old_session_stays_until_the_new_one_is_confirmed(
        self, public: Public, caplog: pytest.LogCaptureFixture
    ) -> None:
        first = await connected(public)
        second = await ProtectedClient.dial(public.net, public.port)
        await first.confirm()
        assert REPLACED not in caplog.text
        await second.confirm()
        assert await first.control.closed()
        assert f"a client at 127.0.0.1 {REPLACED}" in caplog.text
        assert public.server.tunnel.connected

    @pytest.mark.limits(sign_of_life=0.001, handshake_timeout=30.0, respite=30.0)
    @pytest.mark.parametrize("patient", [False, True])
    async def test_a_network_that_confirms_nothing_is_not_answered(self, public: Public, *, patient: bool) -> None:
        client = await connected(public, OTHER_ADDRESS)
        for _ in range(32):
            replayed = await ProtectedClient.dial(public.net, public.port)
            if not patient:
                replayed.control.shut_write()
                await replayed.control.closed()
        await rejected(public, framed(Sealed.HANDSHAKE, begin().message))
        await client.confirm()
        await connected(public, OTHER_ADDRESS)

    async def test_a_client_of_v072_is_replaced_and_replaces(self, public: Public) -> None:
        old = await public.client()
        client = await connected(public, OTHER_ADDRESS)
        assert await old.receive_all() == b""
        old = await public.client()
        assert await client.control.closed()

    async def test_a_goodbye(self, public: Public, caplog: pytest.LogCaptureFixture) -> None:
        client = await connected(public)
        await client.send(Signal.CLOSED)
        await client.control.closed()
        assert "the client closed it to stop or to reload" in caplog.text

    @pytest.mark.limits(handshake_timeout=20.0)
    async def test_many_that_do_not_confirm_displace_none_of_another_network(self, public: Public) -> None:
        client = await ProtectedClient.dial(public.net, public.port)
        for number in range(65):
            await ProtectedClient.dial(public.net, public.port, f"127.0.0.{2 + number % 3}")
        await client.confirm()
        assert public.server.tunnel.connected

    async def test_nonsense_instead_of_a_confirmation(self, public: Public, caplog: pytest.LogCaptureFixture) -> None:
        first = await connected(public)
        client = await ProtectedClient.dial(public.net, public.port)
        await client.control.send(b"\0\0\x20" + bytes(32))
        assert await client.control.receive_all() == b""
        await first.confirm()
        assert "lost" not in caplog.text

    async def test_nonsense_on_a_confirmed_channel_ends_it(self, public: Public) -> None:
        client = await connected(public)
        await client.control.send(b"\0\0\x20" + bytes(32))
        await client.control.receive_all()
        await until(lambda: not public.server.tunnel.connected)

    async def test_a_refused_target_that_can_not_be_logged_ends_the_channel(
        self, public: Public, caplog: pytest.LogCaptureFixture
    ) -> None:
        client = await connected(public)
        await client.send(Signal.REFUSED, encode_refusal("a:1\n[ERROR]", "why", b""))
        await client.control.receive_all()
        await until(lambda: not public.server.tunnel.connected)
        assert "[ERROR]" not in caplog.text

    @pytest.mark.limits(answer_timeout=0.1)
    @pytest.mark.config(heartbeat=0.05)
    async def test_an_unanswered_heartbeat(self, public: Public, caplog: pytest.LogCaptureFixture) -> None:
        client = await connected(public)
        await client.hear(Signal.HEARTBEAT)
        await client.control.closed()
        assert "a heartbeat was not answered" in caplog.text


class TestRefusals:
    """Reasons are for both logs; nothing of the session begins."""

    async def refusal(self, public: Public, transport: str, mux: Settings | None = None) -> str:
        handshake = begin(transport, client_settings(mux=mux or Settings()))
        control = await public.tunnel_connection()
        await control.send(framed(Sealed.HANDSHAKE, handshake.message))
        with pytest.raises(TransportError) as raised:
            handshake.finish(await answer_on(control))
        assert await control.receive_all() == b""
        assert not public.server.tunnel.connected
        return str(raised.value)

    @pytest.mark.parametrize("transport", ["tcpmux", "udp"])
    async def test_another_transport(self, public: Public, caplog: pytest.LogCaptureFixture, transport: str) -> None:
        reason = await self.refusal(public, transport)
        line = f"the client runs {transport}, this server tcp; set the same transport on both ends"
        assert reason == f"refused by the server: {line}"
        await until(lambda: f"no user can be carried: {line}" in caplog.text)

    async def test_another_version(self, public: Public, caplog: pytest.LogCaptureFixture) -> None:
        psk = pre_shared_key(TOKEN.encode())
        begun = Initiator(Shared.mix(psk, hello.PROLOGUES[False]), bytes(range(KEY_SIZE)))
        later = with_hint(psk, begun.begin(hello.encode(hello.ClientHello("tcp", version=2))))
        control = await public.tunnel_connection()
        await control.send(framed(Sealed.HANDSHAKE, later))
        await control.receive_all()
        line = "the client speaks version 2 of the protocol, this server version 1; run the same version"
        await until(lambda: line in caplog.text)
        assert not public.server.tunnel.connected

    async def test_another_transport_beside_the_client(self, public: Public, caplog: pytest.LogCaptureFixture) -> None:
        """It may be a recording of the time before a restart: the connected client stays as it is."""
        client = await connected(public)
        control = await public.tunnel_connection()
        await control.send(framed(Sealed.HANDSHAKE, begin("tcpmux").message))
        await control.receive_all()
        assert "refused client 127.0.0.1: the client runs tcpmux, this server tcp" in caplog.text
        assert not public.server.tunnel.problem
        await client.confirm()


class TestSecurity:
    @pytest.mark.config('security = "required"')
    async def test_a_token_in_clear_is_refused_where_protection_is_required(
        self, public: Public, caplog: pytest.LogCaptureFixture
    ) -> None:
        await rejected(public, HANDSHAKE)
        assert "refused a connection from 127.0.0.1: no valid handshake" in caplog.text
        assert TOKEN not in caplog.text
        await connected(public)

    @pytest.mark.config('security = "legacy"')
    async def test_sealed_messages_are_nothing_to_v072(self, public: Public) -> None:
        await rejected(public, framed(Sealed.HANDSHAKE, begin().message))
        await rejected(public, framed(Sealed.ADMISSION, bytes(60)))
        await public.client()

    async def test_a_client_without_protection_is_warned_of(
        self, public: Public, caplog: pytest.LogCaptureFixture
    ) -> None:
        await public.client()
        assert "client 127.0.0.1 is not protected" in caplog.text

    @pytest.mark.config('security = "legacy"')
    async def test_legacy_does_not_warn(self, public: Public, caplog: pytest.LogCaptureFixture) -> None:
        await public.client()
        assert "not protected" not in caplog.text

    @pytest.mark.config('security = "required"')
    async def test_a_client_that_requires_protection(self, public: Public) -> None:
        required = client_settings(security=Security.REQUIRED)
        await (await ProtectedClient.dial(public.net, public.port, settings=required)).confirm()
        assert public.server.tunnel.connected

    async def test_a_client_that_saw_tls_is_listened_to(self, public: Public) -> None:
        """A proxy has wrapped transport tcp into TLS of its own."""
        handshake = begin(settings=client_settings(security=Security.REQUIRED), seen=Seen(bytes(32)))
        control = await public.tunnel_connection()
        await control.send(framed(Sealed.HANDSHAKE, handshake.message))
        with pytest.raises(TransportError, match="TLS is terminated between client and server"):
            handshake.finish(await answer_on(control))


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kind=st.integers(0x80, 0xFF),
    body=st.one_of(BODIES, BODIES.map(base64url.encode)),
    size=st.integers(0, 1100),
)
async def test_sealed_garbage_affects_no_other(public: Public, kind: int, body: bytes, size: int) -> None:
    other = await public.tunnel_connection()
    await other.send(encode(kind, body[:size]))
    other.shut_write()
    assert await other.receive_all() == b""
    other.close()
    control = await public.tunnel_connection()
    await control.send(HANDSHAKE)
    assert await control.receive(len(HANDSHAKE) + 1) == HANDSHAKE + RTT
    control.close()
    await until(lambda: not public.server.tunnel.connected)

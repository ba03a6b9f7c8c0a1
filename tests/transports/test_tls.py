"""TLS between both ends: the checks, the renewal of certificates, and the log."""

import asyncio
import hashlib
import logging
import resource
import shutil
import socket
import ssl
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from tests.support.authority import Authority
from tests.support.certificate_files import CertificateFiles
from tests.support.net import HOST, PATIENCE, echo, free_port, until
from tests.support.tunnel import LINES, Lines, Net

from backhaul.client import Client
from backhaul.errors import TransportError
from backhaul.net.tls import ClientContext, ClientTls, ServerContext, ServerTls
from backhaul.server import Server
from backhaul.system.certificate import make

NAME = "tunnel.example"


@pytest.fixture
def files(tmp_path: Path) -> CertificateFiles:
    return CertificateFiles(tmp_path)


@pytest.fixture(params=["wss", "wssmux"])
def tls_net(net: Net, files: CertificateFiles, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Net:
    """Provide servers with the certificate in ``files``, which no authority knows."""
    net.transport = request.param
    monkeypatch.setitem(LINES, net.transport, Lines(server=f'tls_cert = "{files.cert}"\ntls_key = "{files.key}"'))
    return net


async def ends(net: Net, client: str) -> tuple[Server, Client]:
    """Start both ends, without a wait for the tunnel."""
    port = free_port()
    return await net.server(port), await net.client(port, client)


async def shown(port: int) -> str:
    """Return the fingerprint of the certificate that a visitor gets."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    async with asyncio.timeout(PATIENCE):
        _, writer = await asyncio.open_connection(HOST, port, ssl=context)
        der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.close()
        await writer.wait_closed()
    return hashlib.sha256(der).hexdigest()


@contextmanager
def shaken(server: ServerContext, client: ClientContext) -> Iterator[ssl.SSLSocket]:
    """Yield the client's end of a connection whose handshake is complete, and whose tickets have arrived."""
    with socket.create_server((HOST, 0)) as listener:
        near = socket.create_connection(listener.getsockname(), PATIENCE)
        far = listener.accept()[0]
    with server.wrap(far) as accepted, client.wrap(near) as dialled, ThreadPoolExecutor() as pool:
        serving = pool.submit(greet, accepted)
        try:
            dialled.do_handshake()
            assert dialled.recv(5) == b"hello"
            yield dialled
        finally:
            near.close()
            dialled.close()
            serving.result(PATIENCE)


def greet(sock: ssl.SSLSocket) -> None:
    with suppress(OSError):
        sock.do_handshake()
        sock.sendall(b"hello")


class TestVerification:
    @pytest.mark.parametrize("name", [HOST, NAME])
    async def test_a_certificate_of_the_authority_for_the_name(
        self, tls_net: Net, files: CertificateFiles, name: str
    ) -> None:
        files.issue(name)
        lines = f'tls_verify = true\ntls_ca = "{files.cert}"\ntls_server_name = "{name}"'
        tunnel = await tls_net.tunnel(await tls_net.echo(), client=lines)
        user = await tunnel.user()
        await user.send(b"hello")
        assert await user.receive(5) == b"hello"

    @pytest.mark.parametrize(
        ("name", "days_ago", "lines", "complaint"),
        [
            (HOST, 0, "", "self-signed certificate"),
            (NAME, 0, 'tls_ca = "{cert}"', "IP address mismatch"),
            (HOST, 0, f'tls_ca = "{{cert}}"\ntls_server_name = "{NAME}"', "Hostname mismatch"),
            (HOST, 3, 'tls_ca = "{cert}"', "certificate has expired"),
            (HOST, -3, 'tls_ca = "{cert}"', "certificate is not yet valid; is this machine's clock right?"),
        ],
        ids=["unknown authority", "another address", "another name", "expired", "not yet valid"],
    )
    async def test_a_certificate_that_is_refused(
        self,
        tls_net: Net,
        files: CertificateFiles,
        caplog: pytest.LogCaptureFixture,
        *,
        name: str,
        days_ago: int,
        lines: str,
        complaint: str,
    ) -> None:
        files.issue(name, since=timedelta(days=days_ago))
        server, _ = await ends(tls_net, f"tls_verify = true\n{lines.format(cert=files.cert)}")
        await until(lambda: f"the server's certificate is refused: {complaint}" in caplog.text)
        assert not server.tunnel.connected

    async def test_the_pinned_certificate(self, tls_net: Net, files: CertificateFiles) -> None:
        tunnel = await tls_net.tunnel(await tls_net.echo(), client=f'tls_fingerprint = "{files.fingerprint}"')
        for _ in range(20):  # more than the pool holds, so on resumed sessions, too
            user = await tunnel.user()
            await user.send(b"hello")
            assert await user.receive(5) == b"hello"

    async def test_another_certificate_than_the_pinned_one(
        self, tls_net: Net, files: CertificateFiles, caplog: pytest.LogCaptureFixture
    ) -> None:
        pinned = files.fingerprint
        files.issue()
        server, _ = await ends(tls_net, f'tls_fingerprint = "{pinned}"')
        await until(lambda: f"has the fingerprint {files.fingerprint}, not tls_fingerprint" in caplog.text)
        assert not server.tunnel.connected

    async def test_by_default_any_certificate_is_accepted(self, tls_net: Net, files: CertificateFiles) -> None:
        files.issue(NAME, since=timedelta(days=3))
        tunnel = await tls_net.tunnel()
        await tls_net.stop(tunnel.server)
        await until(lambda: not tunnel.client.tunnel.connected)
        server = await tls_net.server(tunnel.bind_port)
        await until(lambda: server.tunnel.connected)

    async def test_unreadable_authorities(self, files: CertificateFiles) -> None:
        files.cert.write_text("no certificate")
        with pytest.raises(TransportError, match=f"tls_ca {files.cert}: unusable"):
            ClientContext(ClientTls(HOST, verify=True, ca=str(files.cert)))

    async def test_renewed_authorities(
        self, tls_net: Net, files: CertificateFiles, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO)
        authorities = tmp_path / "authorities.crt"
        shutil.copy(files.cert, authorities)
        tunnel = await tls_net.tunnel(await tls_net.echo(), client=f'tls_verify = true\ntls_ca = "{authorities}"')
        await tls_net.stop(tunnel.server)
        files.issue()
        shutil.copy(files.cert, authorities)
        await tls_net.server(tunnel.bind_port)
        await until(lambda: f"tls_ca {authorities}: changed and in use" in caplog.text)
        await until(lambda: tunnel.client.tunnel.connected)

    def test_unusable_authorities_change_nothing(
        self, files: CertificateFiles, caplog: pytest.LogCaptureFixture
    ) -> None:
        authorities = files.cert.with_name("authorities.crt")
        shutil.copy(files.cert, authorities)
        client = ClientContext(ClientTls(HOST, verify=True, ca=str(authorities)))
        server = ServerContext(ServerTls(str(files.cert), str(files.key)))
        authorities.write_text("half a file")
        for _ in range(2):
            with shaken(server, client) as sock:
                assert sock.getpeercert()
        assert caplog.text.count("the old authorities stay in use until the file is corrected") == 1

    def test_former_authorities_vouch_for_no_session(self, files: CertificateFiles) -> None:
        client = ClientContext(ClientTls(HOST, verify=True, ca=str(files.cert)))
        server = ServerContext(ServerTls(str(files.cert), str(files.key)))
        with shaken(server, client) as sock:
            client.remember(sock)
        with shaken(server, client) as sock:
            assert sock.session_reused
        files.issue()
        with pytest.raises(ssl.SSLCertVerificationError), shaken(server, client):
            pass


class TestRenewal:
    @pytest.fixture(autouse=True)
    def look_often(self, net: Net, caplog: pytest.LogCaptureFixture) -> None:
        net.timings = {"certificate": 0.01}
        caplog.set_level(logging.INFO)

    async def test_a_new_certificate_is_used_without_a_restart(
        self, tls_net: Net, files: CertificateFiles, caplog: pytest.LogCaptureFixture
    ) -> None:
        tunnel = await tls_net.tunnel(await tls_net.echo())
        user = await tunnel.user()
        assert await shown(tunnel.bind_port) == files.fingerprint
        files.issue()
        await until(lambda: "changed and in use" in caplog.text)
        assert await shown(tunnel.bind_port) == files.fingerprint
        assert caplog.text.count("changed and in use") == 1
        await user.send(b"still there")
        assert await user.receive(11) == b"still there"

    async def test_users_come_and_continue(
        self, tls_net: Net, files: CertificateFiles, caplog: pytest.LogCaptureFixture
    ) -> None:
        tunnel = await tls_net.tunnel(await tls_net.echo())
        before = await tunnel.user()
        files.issue()
        await until(lambda: "changed and in use" in caplog.text)
        for _ in range(3):
            await echo(await tunnel.user(), b"after the renewal")
        await echo(before, b"before it")

    @pytest.mark.parametrize(("overlap", "known"), [(60.0, 2), (0.0, 1)])
    def test_the_former_certificate_is_recognised_for_a_while(
        self, files: CertificateFiles, overlap: float, known: int
    ) -> None:
        context = ServerContext(ServerTls(str(files.cert), str(files.key), overlap=overlap))
        assert len(context.fingerprints) == 1
        before = context.fingerprints
        files.issue()
        context.refresh()
        assert len(context.fingerprints) == known
        assert (before < context.fingerprints) is (known == 2)

    @pytest.mark.parametrize("broken", ["certificate", "key", "pair", "gone", "empty"])
    async def test_unusable_files_change_nothing_and_are_reported_without_a_connection(
        self, tls_net: Net, files: CertificateFiles, caplog: pytest.LogCaptureFixture, broken: str
    ) -> None:
        port = free_port()
        await tls_net.server(port)
        old, cert, key = files.fingerprint, files.cert.read_bytes(), files.key.read_bytes()
        if broken == "gone":
            files.key.unlink()
        elif broken == "empty":
            files.write(b"", b"")
        else:
            other = make([HOST], 2, datetime.now(UTC)).key
            files.write(b"?" if broken == "certificate" else cert, {"key": b"?", "pair": other}.get(broken, key))
        await until(lambda: "the old certificate stays in use" in caplog.text)
        assert [await shown(port), await shown(port)] == [old, old]
        files.issue()
        await until(lambda: f"certificate {files.cert}: usable again and in use" in caplog.text)
        assert await shown(port) == files.fingerprint
        assert caplog.text.count("the old certificate stays in use") == 1

    def test_the_same_fault_is_reported_once_and_so_is_its_end(
        self, files: CertificateFiles, caplog: pytest.LogCaptureFixture
    ) -> None:
        context = ServerContext(ServerTls(str(files.cert), str(files.key)))
        cert, key = files.cert.read_bytes(), files.key.read_bytes()
        for _ in range(2):
            files.write(b"", key)
            context.refresh()
        files.write(cert, key)
        for _ in range(2):
            context.refresh()
        assert caplog.text.count("the old certificate stays in use") == 1
        assert caplog.text.count("usable again and in use") == 1

    def test_files_that_could_not_be_opened_once_are_tried_again(
        self, files: CertificateFiles, caplog: pytest.LogCaptureFixture
    ) -> None:
        context = ServerContext(ServerTls(str(files.cert), str(files.key)))
        files.issue()
        _, hard = limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
        try:
            context.refresh()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        assert "Too many open files" in caplog.text
        for _ in range(2):
            context.refresh()
        assert files.fingerprint in {found.hex() for found in context.fingerprints}
        assert caplog.text.count("usable again and in use") == 1

    def test_the_former_certificate_is_recognised_although_the_files_are_touched(self, files: CertificateFiles) -> None:
        context = ServerContext(ServerTls(str(files.cert), str(files.key)))
        before = context.fingerprints
        files.issue()
        context.refresh()
        files.write(files.cert.read_bytes(), files.key.read_bytes())
        context.refresh()
        assert before < context.fingerprints

    def test_a_pair_of_two_ends_is_announced_once(
        self, files: CertificateFiles, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        pair = str(files.cert), str(files.key)
        ends = [
            ServerContext(ServerTls(*pair)),
            ServerContext(ServerTls(*pair, client_ca=str(Authority.make(tmp_path).file), keys="web")),
        ]
        for _ in range(2):
            files.issue()
            for end in ends:
                end.refresh()
        assert caplog.text.count("changed and in use") == 2
        assert ends[0].fingerprints == ends[1].fingerprints

    def test_unusable_files_at_the_start(self, files: CertificateFiles) -> None:
        files.cert.write_text("?")
        with pytest.raises(TransportError, match=f"tls_cert {files.cert}: unusable with tls_key {files.key}"):
            ServerContext(ServerTls(str(files.cert), str(files.key)))

    def test_no_passphrase_is_asked_for(self, files: CertificateFiles) -> None:
        key = serialization.load_pem_private_key(files.key.read_bytes(), None)
        encryption = serialization.BestAvailableEncryption(b"secret")
        pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
        files.write(files.cert.read_bytes(), key.private_bytes(pem, pkcs8, encryption))
        with pytest.raises(TransportError, match="have no passphrase"):
            ServerContext(ServerTls(str(files.cert), str(files.key)))


class TestSessions:
    @pytest.fixture
    def reused(self, monkeypatch: pytest.MonkeyPatch) -> list[bool]:
        """Collect, for each connection of a client, whether it resumed an older session."""
        seen: list[bool] = []
        remember = ClientContext.remember

        def look(context: ClientContext, sock: ssl.SSLSocket) -> None:
            seen.append(bool(sock.session_reused))
            remember(context, sock)

        monkeypatch.setattr(ClientContext, "remember", look)
        return seen

    @pytest.mark.parametrize("client", ["", "tls_verify = true"])
    async def test_connections_of_the_pool_resume_the_first_ones_session(
        self, tls_net: Net, files: CertificateFiles, reused: list[bool], client: str
    ) -> None:
        await tls_net.tunnel(client=f'{client}\ntls_ca = "{files.cert}"\nconnection_pool = 4')
        await until(lambda: len(reused) >= 5)
        assert reused == [False, True, True, True, True]

    async def test_a_resumed_session_does_not_avoid_the_pinned_certificate(
        self, tls_net: Net, files: CertificateFiles, reused: list[bool], caplog: pytest.LogCaptureFixture
    ) -> None:
        tunnel = await tls_net.tunnel(client=f'tls_fingerprint = "{files.fingerprint}"\nconnection_pool = 1')
        await until(lambda: len(reused) >= 2)
        await tls_net.stop(tunnel.server)
        files.issue()
        server = await tls_net.server(tunnel.bind_port)
        await until(lambda: f"has the fingerprint {files.fingerprint}, not tls_fingerprint" in caplog.text)
        assert not server.tunnel.connected


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
class TestOpenssl:
    async def s_client(self, port: int, *options: str) -> str:
        """Connect without a token; return the report about the connection."""
        process = await asyncio.create_subprocess_exec(
            *("openssl", "s_client", "-connect", f"{HOST}:{port}", *options),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        async with asyncio.timeout(PATIENCE):
            out, _ = await process.communicate()
        return out.decode()

    async def test_the_whole_chain_is_shown(self, tls_net: Net, files: CertificateFiles) -> None:
        authority = make([NAME], 2, datetime.now(UTC)).certificate
        files.write(files.cert.read_bytes() + authority, files.key.read_bytes())
        port = free_port()
        await tls_net.server(port)
        said = await self.s_client(port, "-showcerts")
        assert said.count("-----BEGIN CERTIFICATE-----") == 2
        assert authority.decode().strip() in said

    @pytest.mark.parametrize(("version", "welcome"), [("-tls1_1", False), ("-tls1_2", True), ("-tls1_3", True)])
    async def test_versions_older_than_tls_1_2_are_refused(self, tls_net: Net, version: str, welcome: bool) -> None:  # noqa: FBT001 - a parameter
        port = free_port()
        await tls_net.server(port)
        said = await self.s_client(port, version, "-cipher", "DEFAULT@SECLEVEL=0")
        assert ("BEGIN CERTIFICATE" in said) == welcome
        assert ("protocol version" in said) == (not welcome)

    async def test_http_2_is_not_negotiated(self, tls_net: Net) -> None:
        port = free_port()
        await tls_net.server(port)
        assert "ALPN protocol: http/1.1" in await self.s_client(port, "-alpn", "h2,http/1.1")

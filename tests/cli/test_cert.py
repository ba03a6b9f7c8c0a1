"""The command ``backhaul cert``, checked with openssl and Python's TLS."""

import asyncio
import re
import socket
import ssl
import stat
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from backhaul.cli.main import run
from backhaul.config import ClientConfig, ServerConfig
from backhaul.config.loader import parse
from backhaul.system import certificate
from backhaul.system.files import put

NAMES = ["tunnel.example.com", "*.bücher.example", "203.0.113.7", "2001:db8::7"]


def command(*arguments: str) -> int:
    with pytest.raises(SystemExit) as end:
        run(["cert", *arguments])
    assert isinstance(end.value.code, int)
    return end.value.code


def made(folder: Path, *names: str) -> Path:
    """Make a pair for some names; return the certificate's file."""
    assert command("--out", str(folder), *(word for name in names for word in ("--name", name))) == 0
    return folder / "server.crt"


def openssl(*arguments: str | Path) -> str:
    return subprocess.run(["openssl", *arguments], capture_output=True, text=True, check=True).stdout


def test_openssl_reads_the_names_the_key_and_the_time(tmp_path: Path) -> None:
    text = openssl("x509", "-noout", "-text", "-in", made(tmp_path, *NAMES))
    assert re.search("Subject: CN ?= ?tunnel.example.com\n", text)
    alternatives = next(line.strip() for line in text.splitlines() if "DNS:" in line)
    assert alternatives.split(", ") == [
        "DNS:tunnel.example.com",
        "DNS:*.xn--bcher-kva.example",
        "IP Address:203.0.113.7",
        "IP Address:2001:DB8:0:0:0:0:0:7",
    ]
    assert "NIST CURVE: P-256" in text
    assert "CA:FALSE" in text
    assert openssl("x509", "-noout", "-pubkey", "-in", tmp_path / "server.crt") == openssl(
        "pkey", "-pubout", "-in", tmp_path / "server.key"
    )
    start, end = (datetime.strptime(text, "%b %d %H:%M:%S %Y GMT") for text in re.findall(r"Not \w+ *: (.*)", text))  # noqa: DTZ007 - both in GMT
    assert (end - start).days == 825


@pytest.mark.parametrize("name", ["-verify_hostname tunnel.example.com", "-verify_ip 2001:db8::7"])
def test_openssl_accepts_it_as_its_own_authority(name: str, tmp_path: Path) -> None:
    file = made(tmp_path, *NAMES)
    openssl("verify", "-x509_strict", "-purpose", "sslserver", *name.split(), "-CAfile", file, file)
    with pytest.raises(subprocess.CalledProcessError):
        openssl("verify", "-verify_hostname", "example.com", "-CAfile", file, file)


async def test_a_client_that_verifies_accepts_it(tmp_path: Path) -> None:
    file = made(tmp_path, "localhost", "127.0.0.1")
    served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    served.load_cert_chain(file, tmp_path / "server.key")
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=served)
    port = server.sockets[0].getsockname()[1]
    trusting = ssl.create_default_context(cafile=str(file))
    for name in ("localhost", "127.0.0.1"):
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trusting, server_hostname=name)
        writer.close()
        await writer.wait_closed()
    with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
        await asyncio.open_connection("127.0.0.1", port, ssl=trusting, server_hostname="localhost.example")
    server.close()
    await server.wait_closed()


def test_the_printed_settings_can_be_pasted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / 'a "quoted" place'
    file = made(folder, "tunnel.example.com")
    lines = [line.strip() for line in capsys.readouterr().out.splitlines() if line.startswith("  tls_")]
    pasted = "\n".join(line for line in lines if "fingerprint" not in line)
    server = parse(f'[server]\nbind_addr = ":1"\ntransport = "wss"\ntoken = "x"\n{pasted}')
    assert isinstance(server, ServerConfig)
    assert (server.tls_cert, server.tls_key) == (str(file), str(folder / "server.key"))
    client = parse(f'[client]\nremote_addr = "a:1"\ntransport = "wss"\ntoken = "x"\n{lines[-1]}')
    assert isinstance(client, ClientConfig)
    theirs = openssl("x509", "-noout", "-fingerprint", "-sha256", "-in", file).strip().rpartition("=")[2]
    assert client.tls_fingerprint == theirs.replace(":", "").lower()


def test_only_the_owner_may_read_the_key(tmp_path: Path) -> None:
    made(tmp_path, "a")
    assert stat.S_IMODE((tmp_path / "server.key").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "server.crt").stat().st_mode) == 0o644
    assert b"PRIVATE" not in (tmp_path / "server.crt").read_bytes()


@pytest.mark.parametrize("taken", ["server.key", "server.crt"])
def test_nothing_is_replaced_without_force(taken: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / taken).write_text("mine")
    assert command("--out", str(tmp_path), "--name", "a") == 1
    error = f"backhaul cert: {tmp_path / taken} exists; replace it with --force, or set --out\n"
    assert capsys.readouterr() == ("", error)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {taken: "mine"}


def test_force_replaces_both_and_leaves_their_modes(tmp_path: Path) -> None:
    """A service's group that could read the old key can read the new one."""
    before = made(tmp_path, "a").read_bytes()
    (tmp_path / "server.key").chmod(0o640)
    assert command("--out", str(tmp_path), "--name", "b", "--force") == 0
    assert (tmp_path / "server.crt").read_bytes() != before
    assert stat.S_IMODE((tmp_path / "server.key").stat().st_mode) == 0o640
    assert sorted(path.name for path in tmp_path.iterdir()) == ["server.crt", "server.key"]


def test_a_name_that_is_taken_at_the_last_moment_is_not_replaced(tmp_path: Path) -> None:
    file = tmp_path / "server.key"
    file.write_text("mine")
    with pytest.raises(FileExistsError):
        put(file, b"new", 0o600, force=False)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["mine"]


def test_without_names_the_certificate_is_for_this_machine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = made(tmp_path)
    text = openssl("x509", "-noout", "-ext", "subjectAltName", "-in", file)
    assert f"DNS:{socket.gethostname()}, " in text
    assert "DNS:localhost, IP Address:127.0.0.1, IP Address:0:0:0:0:0:0:0:1" in text
    assert str(file) in capsys.readouterr().out


@pytest.mark.parametrize(("address", "named"), [("8.8.8.8", True), ("10.1.2.3", False), ("2606:4700::1", True)])
def test_only_public_addresses_are_named(
    address: str, *, named: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    interfaces = {"eth0": [Entry("00:11:22:33:44:55"), Entry(address), Entry("fe80::1%eth0")]}
    monkeypatch.setattr("psutil.net_if_addrs", lambda: interfaces)
    assert (address in certificate.own_names()) == named
    made(tmp_path)
    assert ("no public address" in capsys.readouterr().out) != named


class Entry:
    """An entry of psutil's list."""

    def __init__(self, address: str) -> None:
        self.address = address


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["--name", "a b"], 'argument --name: "a b" is neither a host name nor an IP address'),
        (["--days", "0"], 'argument --days: "0" is not a number from 1 to 36500'),
        (["--days", "9" * 5000], "is not a number from 1 to 36500"),
        (["--days", "36501"], "is not a number from 1 to 36500"),
    ],
)
def test_wrong_usage_is_named(arguments: Sequence[str], error: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(*arguments) == 2
    assert error in capsys.readouterr().err


def test_a_label_that_is_too_long_is_no_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("--name", "a" * 64, "--out", str(tmp_path)) == 2
    assert "neither a host name nor an IP address" in capsys.readouterr().err


@pytest.mark.parametrize("name", [".", "a.example." + "b" * 60 + ".example"])
def test_odd_names_never_end_in_a_traceback(name: str, tmp_path: Path) -> None:
    assert command("--name", name, "--out", str(tmp_path)) in (0, 1, 2)


def test_a_directory_that_is_a_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "file"
    file.touch()
    assert command("--name", "a", "--out", str(file)) == 1
    assert capsys.readouterr().err == f"backhaul cert: cannot write {file}: Not a directory\n"


def test_the_certificate_expires_after_the_given_days() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert certificate.make(["a"], 31, now).until == datetime(2026, 2, 1, tzinfo=UTC)


def test_the_key_is_not_shown() -> None:
    assert "PRIVATE" not in repr(certificate.make(["a"], 1, datetime.now(UTC)))

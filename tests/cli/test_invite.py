"""The commands ``backhaul server invite`` and ``backhaul join``: from a server's file to a client's, by one line."""

import base64
import io
import stat
import zlib
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.texts import CHARACTERS

from backhaul.cli.main import run
from backhaul.config import ClientConfig, load
from backhaul.config.invitation import read_line

TOKEN = "bh1_0123456789-0123456789"
LINE = "backhaul://AZWrZXguY29tOjMwODCld3NtdXi-YmgxX2FiY2RlZmdoaWprbG1ub3BxcnN0dXZ3eHl6AqQvYXBwmOWECg"
"""Made by the first version; later ones must read it."""


class Machine:
    """Runs commands in a directory of its own."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self._capsys = capsys

    def server(self, lines: str = "", bind: str = "203.0.113.7:3080", transport: str = "tcp") -> Path:
        """Write the file of a server."""
        file = self.folder / "server.toml"
        file.touch(0o600)
        head = f'[server]\nbind_addr = "{bind}"\ntransport = "{transport}"\nports = ["443"]\n'
        file.write_text(head + (lines if "token" in lines else f'token = "{TOKEN}"\n{lines}'))
        return file

    def run(self, *arguments: str | Path) -> str:
        """Run a command that succeeds; return its output."""
        code, output, error = self._ended(*arguments)
        assert (code, error) == (0, "")
        return output

    def fail(self, *arguments: str | Path) -> str:
        """Run a command that ends with one line and 2; return the line."""
        code, output, error = self._ended(*arguments)
        assert (code, output) == (2, "")
        assert error.count("\n") == 1
        assert TOKEN not in error
        return error.rstrip()

    def _ended(self, *arguments: str | Path) -> tuple[object, str, str]:
        with pytest.raises(SystemExit) as end:
            run(list(map(str, arguments)))
        return end.value.code, *self._capsys.readouterr()


@pytest.fixture
def machine(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Machine:
    monkeypatch.chdir(tmp_path)
    for name in ("server.crt", "server.key"):
        (tmp_path / name).touch(0o600)
    return Machine(tmp_path, capsys)


TLS = 'tls_cert = "server.crt"\ntls_key = "server.key"\n'


@pytest.mark.parametrize(
    ("transport", "lines", "further"),
    [
        ("tcp", "mux_version = 2\n", {}),
        ("tcpmux", "mux_version = 2\n", {"mux_version": 2}),
        ("udp", "", {}),
        ("wss", f'{TLS}path = "/app"\n', {"path": "/app"}),
        ("wsmux", 'mux_version = 2\npath = "/app"\n', {"mux_version": 2, "path": "/app"}),
    ],
)
def test_a_line_makes_the_file_of_a_client(
    transport: str, lines: str, further: dict[str, object], machine: Machine
) -> None:
    line = machine.run("server", "invite", "-c", machine.server(lines, transport=transport))
    assert line.count("\n") == 1
    told = machine.run("join", line.strip())
    assert TOKEN not in told
    file = machine.folder / "client.toml"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    config = load(file)
    assert isinstance(config, ClientConfig)
    expected = {"transport": transport, "security": "required", "mux_version": 1, "path": ""} | further
    assert {name: getattr(config, name) for name in expected} == expected
    assert (str(config.remote_addr), config.token.reveal()) == ("203.0.113.7:3080", TOKEN)
    assert "tls_fingerprint" not in file.read_text()


def test_it_says_what_to_run_next(machine: Machine) -> None:
    told = machine.run("join", LINE, "-o", "new/config.toml")
    assert "\n  backhaul -c new/config.toml\n" in told
    assert "\n  backhaul service install -c new/config.toml\n" in told
    assert "ex.com:3080, transport wsmux" in told
    config = load("new/config.toml")
    assert (config.path, config.mux_version) == ("/app", 2)


def test_the_first_token_is_in_the_line(machine: Machine) -> None:
    file = machine.server(f'tokens = ["{TOKEN}-new", "{TOKEN}-old"]')
    assert read_line(machine.run("server", "invite", "-c", file)).token.reveal() == f"{TOKEN}-new"


@pytest.mark.parametrize(
    ("given", "dialled"),
    [
        ("example.com", "example.com:3080"),
        ("example.com:443", "example.com:443"),
        ("203.0.113.9", "203.0.113.9:3080"),
        ("2001:db8::1", "[2001:db8::1]:3080"),
        ("[2001:db8::1]", "[2001:db8::1]:3080"),
        ("[2001:db8::1]:443", "[2001:db8::1]:443"),
        ("localhost", "localhost:3080"),
    ],
)
def test_the_address_may_be_given(given: str, dialled: str, machine: Machine) -> None:
    line = machine.run("server", "invite", "-c", machine.server(bind=":3080"), "--address", given)
    assert read_line(line).address == dialled


@pytest.mark.parametrize("given", [":443", "a b", "example.com:0", "example.com:x", "1.2.3", "unix:/run/x.sock"])
def test_an_address_that_cannot_be_dialled_is_refused(given: str, machine: Machine) -> None:
    error = machine.fail("server", "invite", "-c", machine.server(), "--address", given)
    assert error.startswith("backhaul server invite: --address: ")


@pytest.mark.parametrize("bind", [":3080", "0.0.0.0:3080", "[::]:3080", "127.0.0.1:3080", "[::1]:3080"])
def test_without_an_address_to_dial_the_option_is_named(bind: str, machine: Machine) -> None:
    error = machine.fail("server", "invite", "-c", machine.server(bind=bind))
    assert error.startswith("backhaul server invite: ")
    assert error.endswith(f"server.bind_addr: no other machine can dial {bind}; add --address HOST, or HOST:PORT")


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ('token = "musix"', "the default is public"),
        ('token = "short"', "shorter than 16 characters"),
        ('token = "put your token here"', "the text of an example"),
        (
            f'token = "{TOKEN}"\nsecurity = "legacy"',
            'server.security: a client that joins has "required"; set the same',
        ),
    ],
)
def test_a_server_that_no_client_should_join_gives_the_reason(lines: str, words: str, machine: Machine) -> None:
    error = machine.fail("server", "invite", "-c", machine.server(lines))
    assert words in error
    assert ("`backhaul token` makes one" in error) == ("security" not in lines)


def test_a_proxy_is_not_guessed(machine: Machine) -> None:
    file = machine.server(bind="unix:/run/tunnel.sock", transport="ws")
    error = machine.fail("server", "invite", "-c", file, "--address", "example.com")
    assert "clients dial the proxy in front of unix:/run/tunnel.sock" in error


def test_a_client_is_chosen_by_its_name(machine: Machine) -> None:
    tables = "".join(
        f'[server.clients.{name}]\ntoken = "bh1_{name:x<20}"\nports = ["{port}"]\n'
        for name, port in (("berlin", 8443), ("paris", 8444))
    )
    file = machine.server()
    file.write_text(file.read_text().replace(f'token = "{TOKEN}"\n', "").replace('ports = ["443"]\n', "") + tables)
    line = machine.run("server", "invite", "-c", file, "--client", "paris")
    assert read_line(line).token.reveal() == f"bh1_{'paris':x<20}"
    assert machine.fail("server", "invite", "-c", file).endswith("add --client: berlin, paris")
    wrong = machine.fail("server", "invite", "-c", file, "--client", "rome")
    assert "no client rome; its clients are berlin, paris" in wrong


def test_a_client_does_not_invite(machine: Machine) -> None:
    machine.run("join", LINE)
    assert "this is a client's file; name that of the server" in machine.fail("server", "invite", "-c", "client.toml")


def test_mistakes_of_the_file_are_those_of_check(machine: Machine) -> None:
    error = machine.fail("server", "invite", "-c", machine.server("heartbeat = -1"))
    assert error.startswith(f"{machine.folder}/server.toml: server.heartbeat: expected ")


def test_a_line_that_is_cut_anywhere_is_refused() -> None:
    for number in range(len(LINE)):
        with pytest.raises(ValueError, match=r"incomplete or altered|begins with backhaul://"):
            read_line(LINE[:number])


@given(st.text(CHARACTERS, max_size=60))
def test_no_line_makes_a_traceback(text: str) -> None:
    for line in (text, f"backhaul://{text}", LINE + text.strip() + "x", LINE[:40] + "-" + LINE[41:]):
        with pytest.raises(ValueError, match=r"\w") as caught:
            read_line(line)
        assert "\n" not in str(caught.value)


def encoded(body: bytes) -> str:
    return "backhaul://" + base64.urlsafe_b64encode(body + zlib.crc32(body).to_bytes(4, "big")).decode()


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"\x02new", "of a newer version of this program"),
        (b"", "of a newer version"),
        (b"\x01", "line can't be read"),
        (b"\x01\x91\xa1\xff", "line can't be read"),
        (b"\x01" + b"\x91" * 9999, "line can't be read"),
        (b"\x01" + msgspec.msgpack.encode(["a:1", "tcp"]), "line can't be read"),
        (
            b"\x01" + msgspec.msgpack.encode(["a:1", "quic", TOKEN, 1, ""]),
            "does not fit this version: client.transport",
        ),
        (b"\x01" + msgspec.msgpack.encode(['a:1"\nx = 1', "tcp", TOKEN, 1, ""]), "client.remote_addr: expected"),
        (b"\x01" + msgspec.msgpack.encode(["a:1", "tcp", TOKEN, 3, ""]), "client.mux_version: expected"),
    ],
)
def test_a_line_of_another_version_is_refused(body: bytes, words: str, machine: Machine) -> None:
    assert words in machine.fail("join", encoded(body))
    assert not (machine.folder / "client.toml").exists()


def test_a_broken_line_of_a_terminal_is_put_together(machine: Machine) -> None:
    machine.run("join", LINE[:30], f"  {LINE[30:50]}\n", LINE[50:])
    assert (machine.folder / "client.toml").exists()


def test_the_line_may_come_from_standard_input(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that it appears neither in the shell's history nor among the processes."""
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(LINE.encode() + b"\n\xff")))
    machine.run("join", "-")
    assert load("client.toml").token.reveal() == "bh1_abcdefghijklmnopqrstuvwxyz"


def test_nothing_is_replaced_without_force(machine: Machine) -> None:
    file = machine.folder / "client.toml"
    file.write_text("mine")
    file.chmod(0o604)
    error = machine.fail("join", LINE)
    assert error == "backhaul join: client.toml exists; replace it with --force, or name another with -o"
    assert file.read_text() == "mine"
    machine.run("join", LINE, "--force")
    assert load(file).security == "required"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_file_that_cannot_be_written_is_named(machine: Machine) -> None:
    (machine.folder / "file").touch()
    assert machine.fail("join", LINE, "-o", "file/x.toml") == "backhaul join: cannot write file/x.toml: Not a directory"

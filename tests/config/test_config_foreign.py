"""A configuration that a running program is sent leads its reader to no pipe and to no device."""

import os
from pathlib import Path

import pytest

from backhaul.config import ConfigError, ServerConfig
from backhaul.config.foreign import parse_foreign

SERVER = '[server]\nbind_addr = "0.0.0.0:3080"\ntransport = "wss"\n'


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    """A pipe without a writer: opening it would take forever."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    return path


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ('token_file = "{}"', "server.token_file"),
        ('Token_File = "{}"', "server.Token_File"),
        ('tls_cert = "{}"\ntls_key = "{}"', "server.tls_cert"),
        ('token = "x"\nweb_client_ca = "{}"', "server.web_client_ca"),
        ('token = "x"\nweb_cert = "{}"\nweb_key = "{}"', "server.web_key"),
        ('token = "x"\n[server.limits]\ndeny_file = "{}"', "server.limits.deny_file"),
        ('token = "x"\nx = [1, {tls_ca = "{}"}]', "server.x.tls_ca"),
        ('[server.clients.berlin]\ntoken_file = "{}"', "server.clients.berlin.token_file"),
        ('[server.clients.berlin]\nallow_file = "{}"', "server.clients.berlin.allow_file"),
    ],
)
def test_a_pipe_is_not_opened(line: str, name: str, pipe: Path) -> None:
    with pytest.raises(ConfigError) as mistake:
        parse_foreign(SERVER + line.replace("{}", str(pipe)), {})
    assert f'{name}: "{pipe}" is a pipe, a device or a socket; name an ordinary file' in mistake.value.problems


def test_a_device_is_not_read() -> None:
    with pytest.raises(ConfigError, match="tls_ca"):
        parse_foreign('[client]\nremote_addr = "a:1"\ntransport = "wss"\ntls_ca = "/dev/zero"\n', {})


def test_files_of_further_servers_are_tried(tmp_path: Path) -> None:
    (file := tmp_path / "ca.pem").write_text("no certificate")
    first = f'[client]\nremote_addr = "a:1"\ntransport = "wss"\ntoken = "{"t" * 40}"\n'
    with pytest.raises(ConfigError, match=r"client\.servers\[1\]\.tls_ca: holds no certificates"):
        parse_foreign(f'{first}servers = [{{addr = "b:1", tls_verify = true, tls_ca = "{file}"}}]\n', {})


def test_ordinary_files_are_read(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("t" * 40)
    file.chmod(0o600)
    config = parse_foreign("\ufeff" + SERVER.replace("wss", "tcp") + f'token_file = "{file}"\n', {})
    assert isinstance(config, ServerConfig)
    assert config.accepted[0].reveal() == "t" * 40


@pytest.mark.parametrize(
    "text", ["", "[server", "a = " + "[" * 5000, 'token_file = "\\u0000"', "[server]\ntls_cert = 7"]
)
def test_mistakes_are_those_of_the_loader(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_foreign(text, {})

"""Warnings about accepted but doubtful settings."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.config import CLIENT, PORTS, SERVER, TOKEN, client, problems, server

from backhaul.config import ClientConfig, ServerConfig, load
from backhaul.config.doors import bare_tokens
from backhaul.config.keys import ALL
from backhaul.config.loader import parse

FULL_SERVER = SERVER + PORTS
EXAMPLES = Path(__file__).parents[2] / "examples"


def on(transport: str, text: str) -> str:
    return text.replace('"tcp"', f'"{transport}"')


@pytest.mark.parametrize("text", [FULL_SERVER, CLIENT])
def test_a_sound_file_has_no_warnings(text: str) -> None:
    assert parse(text).warnings == ()


def test_a_missing_token_is_warned_of_in_capitals() -> None:
    for text in (FULL_SERVER, CLIENT):
        for token in ("", 'token = ""', 'token = "musix"'):
            config = parse(text.replace(f'token = "{TOKEN}"', token))
            assert config.token.reveal() == "musix"
            [warning] = config.warnings
            assert "ANYONE CAN TAKE OVER" in warning
            assert "musix" not in warning


@pytest.mark.parametrize(
    ("token", "words"),
    [
        ("put your token here", "ANYONE CAN TAKE OVER"),
        ("Replace this with a  long random text", "ANYONE CAN TAKE OVER"),
        ("your_token", "ANYONE CAN TAKE OVER"),
        ("fifteen-letters", "shorter than 16 characters"),
    ],
)
def test_guessable_tokens_are_warned_of_and_not_shown(token: str, words: str) -> None:
    for text in (FULL_SERVER, CLIENT):
        [warning] = parse(text.replace(TOKEN, token)).warnings
        assert warning.startswith("token: ")
        assert words in warning
        assert token not in warning


@pytest.mark.parametrize("file", sorted(EXAMPLES.glob("*/*.toml")), ids=lambda file: f"{file.parent.name}/{file.name}")
def test_the_token_of_every_example_is_a_known_placeholder(file: Path, tmp_path: Path) -> None:
    for name in ("server.crt", "server.key"):
        (tmp_path / name).touch()
    config = parse(file.read_text().replace("/etc/backhaul/", f"{tmp_path}/"))
    assert config.warnings[0].startswith("token: still the text of an example")


def test_settings_without_effect_are_warned_of() -> None:
    config = parse(on("udp", FULL_SERVER) + "accept_udp = true\nproxy_protocol = true\nmux_con = 2\nmux_version = 2")
    streams, sessions = config.warnings
    assert streams.startswith("accept_udp, proxy_protocol: no effect on transport udp, only on tcp, tcpmux, ws, ")
    assert sessions == "mux_version, mux_con: no effect on transport udp, only on tcpmux, wsmux, wssmux; remove it here"
    assert parse(on("udp", FULL_SERVER) + "accept_udp = false\nmux_con = 8").warnings == ()
    assert "tls_verify = true" in parse(on("wss", CLIENT) + f'tls_ca = "{__file__}"').warnings[-1]


def test_copies_of_datagrams_need_numbers() -> None:
    text = on("udp", FULL_SERVER) + "udp_copies = 2\n"
    [problem] = problems(text)
    assert problem.startswith("server.udp_copies: needs encryption = true, by which the other end knows a copy; ")
    assert parse(text + "encryption = true").udp_copies == 2
    [warning] = parse(FULL_SERVER + "udp_copies = 2").warnings
    assert warning == "udp_copies: no effect on transport tcp, only on udp; remove it here"


@pytest.mark.parametrize(
    ("transport", "value", "version", "warned"),
    [
        ("tcp", "true", "v2", False),
        ("wsmux", "true", "v2", False),
        ("ws", "true", None, True),
        ("udp", "true", None, True),
        ("ws", '"v2"', "v2", False),
        ("tcpmux", '"v1"', "v1", False),
        ("ws", "false", None, False),
    ],
)
def test_a_proxy_protocol_without_effect_is_warned_of(
    transport: str, value: str, version: str | None, *, warned: bool
) -> None:
    config = parse(f"{on(transport, FULL_SERVER)}proxy_protocol = {value}")
    assert isinstance(config, ServerConfig)
    assert config.proxied.version(443) == version
    assert [warning.partition(":")[0] for warning in config.warnings] == ["proxy_protocol"] * warned


@pytest.mark.parametrize("name", ["dial_timeout", "Dial_Timeout"])
def test_a_key_of_the_other_side_is_warned_of_and_ignored(name: str) -> None:
    config = server(f'{PORTS}{name} = "whatever"')
    assert config.warnings == (f"{name}: no effect, a key of the other side; remove it here",)


@pytest.mark.parametrize(
    ("text", "start"),
    [
        (FULL_SERVER + "hartbeat = 3", "hartbeat: unknown key, ignored; remove it or correct it; did you mean `heart"),
        (FULL_SERVER + "Hart-beat = 3", "Hart-beat: unknown key, ignored; remove it or correct it; did you "),
        (FULL_SERVER + 'tun_name = "x"', "tun_name: unknown key, ignored; remove it or correct it"),
        (FULL_SERVER + '"a\\nb" = 3', '"a\\nb": unknown key, ignored; remove it or correct it'),
        (FULL_SERVER + "HEARTBEAT = 3\nheartbeat = 3", "HEARTBEAT: unknown key, ignored; "),
        (CLIENT + "[tun]", "tun: unknown table or key, ignored; remove it or correct it"),
        (
            "heartbeat = 3\n" + FULL_SERVER,
            "heartbeat: ignored outside any table; move it below [server]",
        ),
        ('token = "x"\n' + CLIENT, "token: ignored outside any table; move it below [server] or "),
    ],
)
def test_unknown_names_are_ignored_as_in_v072(text: str, start: str) -> None:
    [warning] = parse(text).warnings
    assert warning.startswith(start)


@pytest.mark.parametrize(
    ("lines", "open_to_all"),
    [
        ("web_port = 2060", True),
        ('web_port = 2060\nweb_bind = "::"', True),
        ('web_port = 2060\nweb_bind = "127.0.0.1"', False),
        ('web_port = 2060\nweb_bind = "localhost"', False),
        ('web_port = 2060\nweb_user = "me"\nweb_password = "secret"', False),
    ],
)
def test_an_open_page_is_warned_of(lines: str, *, open_to_all: bool) -> None:
    assert [warning.partition(":")[0] for warning in client(lines).warnings] == ["web_port"] * open_to_all


REMAINS = (
    "security: until the server has been protected once, an attacker on the path can make this client send the bare"
)
CLEAR = "security: with legacy the token crosses the network in clear on transport"
PIN = f'tls_fingerprint = "{"ab" * 32}"'


@pytest.mark.parametrize(
    ("security", "transport", "lines", "words"),
    [
        *(("required", transport, "", "") for transport in ALL),
        ("auto", "tcp", "", REMAINS),
        ("auto", "udp", "", REMAINS),
        ("auto", "wsmux", "", REMAINS),
        ("auto", "wss", "", REMAINS),
        ("auto", "wss", PIN, ""),
        ("auto", "wssmux", "tls_verify = true", ""),
        *(("legacy", transport, "", f"{CLEAR} {transport};") for transport in ("tcp", "tcpmux", "udp", "ws", "wsmux")),
        ("legacy", "wss", "", "tls_verify: the server's certificate is not verified"),
        ("legacy", "wssmux", "", "any server that answers gets the token; set tls_fingerprint or tls_verify"),
        ("legacy", "wssmux", "tls_verify = true", ""),
        ("legacy", "wss", PIN, ""),
    ],
)
def test_a_client_is_warned_of_what_others_may_learn(security: str, transport: str, lines: str, words: str) -> None:
    config = parse(on(transport, CLIENT).replace("required", security) + lines)
    warnings = [*config.warnings, *bare_tokens(config, lambda _: False)]
    assert len(warnings) == bool(words)
    assert words in "".join(warnings)


@pytest.mark.parametrize(("security", "warned"), [("auto", False), ("required", False), ("legacy", True)])
def test_a_server_is_warned_of_tokens_in_clear(security: str, *, warned: bool) -> None:
    warnings = server(f'{PORTS}security = "{security}"').warnings
    assert [warning.startswith(f"{CLEAR} tcp; set") for warning in warnings] == [True] * warned


def test_a_guessable_token_is_guessed_offline() -> None:
    """A recorded handshake shows whether a guess was right."""
    for text in (FULL_SERVER + 'security = "required"', CLIENT):
        [warning] = parse(text.replace(TOKEN, "fifteen-letters")).warnings
        assert "it can be guessed, offline, from one recorded handshake; set the same" in warning


def test_a_server_without_ports_is_warned_of() -> None:
    [warning] = server("").warnings
    assert warning.startswith("ports: none")


@pytest.fixture
def public() -> Iterator[Path]:
    """A directory that every user can reach, unlike those of pytest."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        path.chmod(0o755)
        yield path


@pytest.mark.parametrize(
    ("folder", "mode", "words"),
    [("missing", 0o700, "no directory"), (".", 0o777, "every user"), (".", 0o1777, "every user"), (".", 0o755, "")],
)
def test_the_directory_of_the_usage_log(folder: str, mode: int, words: str, public: Path) -> None:
    public.chmod(mode)
    file = public / folder / "usage.json"
    warnings = client(f'sniffer = true\nsniffer_log = "{file}"').warnings
    assert [warning.partition(":")[0] for warning in warnings] == ["sniffer_log"] * bool(words)
    assert words in "".join(warnings)
    assert client(f'sniffer_log = "{file}"').warnings == ()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_usage_log_in_a_directory_that_is_not_writable(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    [warning] = client(f'sniffer = true\nsniffer_log = "{tmp_path}/usage.json"').warnings
    assert "is not writable" in warning


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (CLIENT, "token"),
        (CLIENT.replace(TOKEN, "musix"), ""),
        (CLIENT.replace(TOKEN, "musix") + 'web_user = "me"\nweb_password = "secret"\n', "web_password"),
        (CLIENT.replace(TOKEN, "musix") + 'on_event = "https://example.com/hook?key=secret"\n', "on_event"),
        (CLIENT.replace(TOKEN, "musix") + 'on_event = "https://me:secret@example.com/hook"\n', "on_event"),
        (CLIENT.replace(TOKEN, "musix") + 'on_event = "https://example.com/hook"\n', ""),
        (CLIENT.replace(TOKEN, "musix") + 'on_event = "/bin/told --if ?"\n', ""),
    ],
)
def test_a_secret_in_a_world_readable_file(text: str, name: str, public: Path) -> None:
    file = public / "c.toml"
    file.write_text(text)
    file.chmod(0o640)
    known = load(file).warnings
    file.chmod(0o644)
    more = load(file).warnings[len(known) :]
    assert [warning.partition(":")[0] for warning in more] == [name] * bool(name)
    assert all(f"&& chmod 600 {file}`" in warning for warning in more)
    public.chmod(0o700)  # like /root: closed to other users
    assert load(file).warnings == known


def test_a_world_readable_file_of_tokens(public: Path) -> None:
    file, token = public / "c.toml", public / "token"
    file.touch(0o600)
    token.touch(0o644)
    token.write_text(TOKEN)
    file.write_text(CLIENT.replace(f'token = "{TOKEN}"', f'token_file = "{token}"'))
    assert f"token_file: every user of this machine can read it in {token}" in "".join(load(file).warnings)
    token.chmod(0o600)
    assert "every user" not in "".join(load(file).warnings)


def test_a_world_readable_private_key(public: Path) -> None:
    file, key = public / "s.toml", public / "server.key"
    file.touch(0o600)
    key.touch(0o644)
    file.write_text(on("wss", FULL_SERVER) + f'tls_cert = "{key}"\ntls_key = "{key}"')
    [warning] = load(file).warnings
    assert warning.startswith(f"tls_key: every user of this machine can read it in {key}")
    file.write_text(FULL_SERVER + f'web_bind = "unix:{public}/page"\nweb_cert = "{key}"\nweb_key = "{key}"')
    [warning] = load(file).warnings
    assert warning.startswith(f"web_key: every user of this machine can read it in {key}")


@pytest.mark.parametrize(
    ("text", "side"),
    [
        (FULL_SERVER + CLIENT, ServerConfig),
        (CLIENT + FULL_SERVER, ServerConfig),
        ("[server]\n" + CLIENT, ClientConfig),
        (CLIENT + FULL_SERVER.replace("0.0.0.0:3080", ""), ClientConfig),
        (FULL_SERVER.replace("bind_addr", "Bind_Addr") + "[client]", ServerConfig),
        (FULL_SERVER + "[client]\nnonsense = 1", ServerConfig),
    ],
)
def test_of_two_sides_in_one_file_the_one_that_v072_runs_is_read(text: str, side: type) -> None:
    config = parse(text)
    assert type(config) is side
    [warning] = config.warnings
    assert "only one of them runs" in warning

"""A client's further servers."""

from pathlib import Path

import pytest
from tests.support.config import CLIENT, TOKEN, client, problems

from backhaul.cli.check import render
from backhaul.config import Address, ClientConfig, ConfigError, load, load_usable
from backhaul.config.address import EveryAddress
from backhaul.config.diff import diff
from backhaul.config.doors import bare_tokens
from backhaul.config.loader import parse

SECRET = "fedcba9876543210"


def others(*entries: str, lines: str = "") -> tuple[ClientConfig, ...]:
    return client(f"servers = [{', '.join(entries)}]\n{lines}").others


def mistakes(*entries: str, lines: str = "") -> tuple[str, ...]:
    return problems(f"{CLIENT}servers = [{', '.join(entries)}]\n{lines}")


def test_an_entry_inherits_the_keys_that_it_does_not_set() -> None:
    [other] = others('{ addr = "b.example:8443", transport = "wssmux", path = "/b" }', lines="mux_version = 2")
    assert (other.remote_addr, other.transport, other.path) == (Address("b.example", 8443), "wssmux", "/b")
    assert (other.mux_version, other.security, other.accepted) == (2, "required", client("").accepted)
    assert other.others == ()


def test_keys_of_the_first_address_are_not_inherited() -> None:
    lines = 'transport = "wss"\nedge_ip = "192.0.2.1"\ntls_server_name = "a.example"\ntls_fingerprint = "' + "ab" * 32
    text = CLIENT.replace('transport = "tcp"\n', "") + lines + '"\nservers = [{ Addr = "b.example:443" }]\n'
    config = parse(text)
    assert isinstance(config, ClientConfig)
    [other] = config.others
    assert (other.edge_ip, other.tls_server_name) == ("", "")
    assert other.tls_fingerprint == config.tls_fingerprint != ""


def test_an_entry_may_have_its_own_token() -> None:
    first, second = others(f'{{ addr = "b:1", tokens = ["{SECRET}", "{TOKEN}"] }}', '{ addr = "c:1" }')
    assert [token.reveal() for token in first.accepted] == [SECRET, TOKEN]
    assert [token.reveal() for token in second.accepted] == [TOKEN]


def test_a_name_may_stand_for_all_of_its_addresses() -> None:
    [other] = others('{ addr = "all:b.example:1" }')
    assert other.remote_addr == EveryAddress("b.example", 1)
    assert str(other.remote_addr) == "all:b.example:1"
    assert client("").remote_addr == Address("example.com", 3080)


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ('{ transport = "ws" }', 'addr: missing; add addr = "example.com:3080"'),
        ('{ addr = "b" }', "addr: expected host:port"),
        ('{ addr = "all:192.0.2.1:80" }', "an address is no name; remove all:"),
        ('{ addr = "b:1", transport = "tpc" }', "did you mean `tcp`?"),
        ('{ addr = "b:1", edge_pi = "192.0.2.1" }', "edge_pi: unknown key; remove it or correct it; did you mean"),
        ('{ addr = "b:1", connection_pool = 1 }', "connection_pool: holds for all servers; write it below [client]"),
        ('{ addr = "b:1", token = "x", tokens = ["y"] }', "tokens: token is set, too"),
        ('{ addr = "b:1", transport = "wss", tls_ca = "/missing" }', 'tls_ca: cannot read "/missing"'),
        ('{ addr = "all:b:1", transport = "ws", edge_ip = "192.0.2.1" }', "edge_ip: all:b:1 already names every"),
        ('{ addr = "b:1", token = 7 }', "token: expected text in quotes, on one line, got a number"),
    ],
)
def test_a_mistake_names_the_entry(entry: str, problem: str) -> None:
    found = mistakes('{ addr = "good:1" }', entry)
    assert all(line.startswith("client.servers[2].") for line in found)
    assert problem in found[0]


def test_an_entry_is_a_table() -> None:
    assert mistakes('"b:1"') == ('client.servers: entry 1: expected a table such as {addr = "b.example:8443"}',)


def test_the_same_server_twice() -> None:
    assert mistakes('{ addr = "example.com:3080" }', '{ addr = "b:1" }', '{ addr = "b:1", transport = "tcp" }') == (
        "client.servers[1].addr: the same server in the same way as remote_addr; remove one of them",
        "client.servers[3].addr: the same server in the same way as servers[2]; remove one of them",
    )


def test_a_mistake_of_the_client_is_not_repeated_for_each_server() -> None:
    assert mistakes('{ addr = "b:1" }', lines="mss = 7") == (
        "client.mss: expected 0 (the system's) or at least 88 bytes, got 7",
    )


def test_warnings_name_the_entry() -> None:
    entry = f'{{ addr = "b:1", path = "/x", security = "auto", token = "{TOKEN}" }}'
    (no_effect,) = client(f"servers = [{entry}]").warnings
    assert no_effect.startswith("servers[1].path: no effect on transport tcp")


@pytest.mark.parametrize(
    ("protected", "keys"),
    [
        ("", ["security"]),
        ("a:1 c:1 d:1 _x._tcp.b.example", ["servers[1].security"]),
        ("b:1 c:1", ["security"]),
        ("a:1 d:1", ["servers[1].security", "servers[2].security", "servers[4].security"]),
        ("a:1 b:1 c:1 _x._tcp.b.example", ["servers[3].security"]),
        ("a:1 b:1 c:1 d:1", ["servers[4].security"]),
        ("a:1 b:1 c:1 d:1 _x._tcp.b.example", []),
    ],
)
def test_only_servers_that_were_not_protected_may_get_the_bare_token(protected: str, keys: list[str]) -> None:
    entries = '{ addr = "b:1" }, { addr = "c:1" }, { addr = "all:d:1" }, { addr = "all:_x._tcp.b.example" }'
    config = parse(CLIENT.replace("example.com:3080", "a:1").replace("required", "auto") + f"servers = [{entries}]")
    lines = list(bare_tokens(config, protected.split().__contains__))
    assert [line.partition(": until the server has been protected once")[0] for line in lines] == keys


def test_a_mode_without_servers_is_a_warning() -> None:
    [line] = client('servers_mode = "all"').warnings
    assert line == "servers_mode: no effect without servers; add some, or remove it"


def test_the_token_of_an_entry_is_shown_nowhere() -> None:
    config = client(f'servers = [{{ addr = "b:1", token = "{SECRET}" }}]')
    shown = render(config)
    assert SECRET not in shown + repr(config)
    assert 'servers = [{addr = "b:1", token = ***}]' in shown
    assert "  b:1, transport tcp\n" in shown


def test_files_of_an_entry_are_looked_at(tmp_path: Path) -> None:
    authorities, token = tmp_path / "ca.pem", tmp_path / "token"
    authorities.write_text("none")
    token.write_text(SECRET)
    token.chmod(0o644)
    tmp_path.chmod(0o755)
    file = tmp_path / "client.toml"
    entry = f'{{ addr = "b:1", transport = "wss", tls_ca = "{authorities}", token_file = "{token}" }}'
    file.write_text(f"{CLIENT}servers = [{entry}]\n")
    [other] = load(file).others  # type: ignore[union-attr]
    assert other.accepted[0].reveal() == SECRET
    with pytest.raises(ConfigError, match=r"client.servers\[1\].tls_ca: holds no certificates"):
        load_usable(file)


def test_another_token_in_the_file_of_an_entry_is_a_change(tmp_path: Path) -> None:
    token = tmp_path / "token"
    text = f'servers = [{{ addr = "b:1", token_file = "{token}" }}]'
    token.write_text(SECRET)
    before = client(text)
    token.write_text(TOKEN)
    assert diff(before, client(text)).changed == ("token_file",)


def test_the_best_server_is_one_server() -> None:
    text = CLIENT.replace("example.com:3080", "all:a:1") + 'servers_mode = "best"\nservers = [{ addr = "all:b:1" }]\n'
    assert problems(text) == (
        'client.remote_addr: all:a:1 stands for several servers; servers_mode = "best" needs one entry for each',
        'client.servers[1].addr: all:b:1 stands for several servers; servers_mode = "best" needs one entry for each',
    )

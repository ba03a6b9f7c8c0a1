"""The tables ``[server.clients.NAME]``."""

from pathlib import Path

import pytest
from msgspec.structs import replace
from tests.support.clients import table, token_of
from tests.support.config import PORTS, SERVER, problems, server

from backhaul.cli.check import render
from backhaul.config import Address, PortMapping, ServerConfig
from backhaul.config.diff import diff
from backhaul.config.files import clashes
from backhaul.config.loader import parse

WITHOUT_TOKEN = '[server]\nbind_addr = "0.0.0.0:3080"\ntransport = "tcp"\n'


def several(tables: str) -> ServerConfig:
    config = parse(WITHOUT_TOKEN + tables)
    assert isinstance(config, ServerConfig)
    return config


def test_each_client_has_its_keys() -> None:
    config = server(PORTS + table("berlin", ["8443=443"], 'max_connections = 5\nallow_targets = [":443"]'))
    unnamed, berlin = config.served
    assert (unnamed.name, unnamed.ports) == ("", (PortMapping("", 443, "443"),))
    assert (berlin.name, berlin.ports) == ("berlin", (PortMapping("", 8443, "443"),))
    assert [token.reveal() for token in berlin.accepted] == [token_of("berlin")]
    assert (berlin.max_connections, berlin.allow_targets) == (5, (":443",))
    assert config.all_ports == unnamed.ports + berlin.ports


def test_the_token_of_the_server_is_optional_beside_clients(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text(f"{token_of('new')}\n{token_of('old')}\n")
    (berlin,) = several(f'[server.clients.berlin]\nports = ["443"]\ntoken_file = "{file}"').served
    assert [token.reveal() for token in berlin.accepted] == [token_of("new"), token_of("old")]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (SERVER + "clients = 3", "clients: expected tables [server.clients.NAME], got 3"),
        (SERVER + "[server.clients]\nberlin = 3", "clients: berlin: expected a table [server.clients.NAME], got 3"),
        (SERVER + '[server.clients."a b"]\ntoken = "t"', 'clients: "a b": expected a name of at most 64 letters'),
        (SERVER + table("berlin", lines="max_conections = 3"), "clients: berlin.max_conections: unknown key"),
        (SERVER + table("berlin", lines="max_connections = -3"), "clients: berlin.max_connections: expected a whole"),
        (
            SERVER + table("berlin", lines="idle_timeout = -1"),
            "clients: berlin.idle_timeout: expected a whole number of",
        ),
        (SERVER + table("berlin", lines="max_lifetime = 1.5"), "clients: berlin.max_lifetime: expected a whole number"),
        (
            SERVER + table("berlin", lines='allow = ["10.0.0.1/8"]'),
            'clients: berlin.allow: entry "10.0.0.1/8": write a',
        ),
        (SERVER + table("berlin", lines='deny = "10.0.0.0/8"'), "clients: berlin.deny: expected a list of networks"),
        (
            SERVER + table("berlin", lines='deny_file = "/none"'),
            'clients.berlin.deny_file: cannot read "/none": No such',
        ),
        (SERVER + table("berlin", lines='allow_file = "\\u0000"'), "clients.berlin.allow_file: no file can have this"),
        (SERVER + table("berlin", ["65536"]), 'clients: berlin.ports: entry "65536": '),
        (SERVER + '[server.clients.berlin]\nports = ["443"]', "clients.berlin.token: missing; add one"),
        (
            SERVER + table("berlin", lines=f'tokens = ["a"]\ntoken_file = "{Path(__file__)}"'),
            "clients.berlin.token_file: tokens is set, too; keep one of token, tokens and token_file",
        ),
        (
            SERVER + table("a", lines='tokens = ["one", "two"]') + table("b", lines='tokens = ["two"]'),
            "clients.b.token: clients.a has the same; give each client its own",
        ),
        (
            SERVER + '[server.clients.b]\ntoken = "0123456789abcdef"',
            "clients.b.token: [server] has the same; give each client its own",
        ),
        (
            SERVER + PORTS + table("a", ["127.0.0.1:440-450=1"]),
            "clients.a.ports: port 443 is in ports, too; remove it from one of them",
        ),
        (
            WITHOUT_TOKEN + table("a", ["8000"]) + table("b", ["8000"]),
            "clients.b.ports: port 8000 is in clients.a.ports, too; remove it from one of them",
        ),
        (WITHOUT_TOKEN + table("a", ["3080"]), "clients.a.ports: port 3080 is taken by bind_addr"),
        (SERVER + "web_port = 80\n" + table("a", ["80"]), "web_port: port 80 is listed in ports too"),
        (WITHOUT_TOKEN + PORTS + table("a"), "ports: no client serves them, as [server] has no token"),
        (
            WITHOUT_TOKEN + table("a", ["8000-8009", "22"], 'allow_targets = [":22"]'),
            "clients.a.ports: not in allow_targets of this client: 8000, 8001, 8002, 8003, 8004, and 5 more",
        ),
    ],
)
def test_mistakes(text: str, complaint: str) -> None:
    (found,) = problems(text)
    assert found.startswith(f"server.{complaint}"), found


def test_a_port_of_two_files_names_both_places() -> None:
    one = several(table("berlin", ["8443"]))
    other = server(table("a") + PANEL.replace('"443"', '"8443"').replace('["a", "b"]', '["a"]'))
    (found,) = clashes({Path("one.toml"): replace(one, bind_addr=Address("", 3081)), Path("other.toml"): other})
    clients, group = "server.clients.berlin.ports of one.toml", "server.groups.panel.ports"
    assert found == f"other.toml: {group}: port 8443 is taken by {clients}; change one of them"


PANEL = '[server.groups.panel]\nports = ["443"]\nclients = ["a", "b"]\n'


def test_a_group_has_ports_and_clients() -> None:
    config = several(table("a") + table("b") + PANEL)
    (group,) = config.groups.named
    assert (group.name, group.clients, group.balance) == ("panel", ("a", "b"), "least")
    assert config.all_ports == group.ports == (PortMapping("", 443, "443"),)
    text = render(config)
    assert "ports of group panel: clients a, b, balance least\n  *:443 -> 443\n" in text
    assert 'groups = {panel = {clients = ["a", "b"], balance = "least"}}' in text


@pytest.mark.parametrize(
    ("tables", "complaint"),
    [
        (PANEL.replace('["a", "b"]', "[]"), "groups.panel.clients: missing; add the names of clients"),
        (PANEL.replace('"b"', '"c"'), "groups.panel.clients: no client c; add [server.clients.c]"),
        (PANEL.replace('"b"', '"a"'), "groups.panel.clients: a name is listed twice"),
        (PANEL.replace('"b"', "3"), "groups: panel.clients: entry 3: write it in quotes"),
        (PANEL + 'balance = "fair"', 'groups: panel.balance: expected "least", "source" or "order", got "fair"'),
        (PANEL + "healthy = true", "groups: panel.healthy: unknown key"),
        (PANEL.replace("443", "8000"), "groups.panel.ports: port 8000 is in clients.a.ports, too"),
        (PANEL.replace("443", "3080"), "groups.panel.ports: port 3080 is taken by bind_addr"),
        (PANEL.replace("443", "22"), "groups.panel.ports: not in clients.b.allow_targets: 22; add them there"),
    ],
)
def test_mistakes_of_groups(tables: str, complaint: str) -> None:
    (found,) = problems(
        WITHOUT_TOKEN + table("a", ["8000"]) + table("b", lines='allow_targets = [":443-9000"]') + tables
    )
    assert found.startswith(f"server.{complaint}"), found


def test_ports_on_other_addresses_do_not_clash() -> None:
    assert several(table("a", ["127.0.0.2:443=1"]) + table("b", ["127.0.0.3:443=1"]))


def test_the_name_that_metrics_give_the_client_of_the_server_is_free_without_that() -> None:
    assert several(table("default")).served[0].name == "default"
    (problem,) = problems(SERVER + PORTS + table("default"))
    assert problem == "server.clients.default: metrics call the client of [server] so; choose another name"


def test_warnings_name_the_client() -> None:
    (found,) = several(table("berlin", ["443"], 'tokens = ["short"]')).warnings
    assert found.startswith("clients.berlin.token: shorter than 16 characters")


def test_the_check_shows_the_ports_of_each_client_and_no_token() -> None:
    text = render(several(table("berlin", ["8443=443"]) + table("paris", ["8000-8009"], "max_connections = 7")))
    assert "ports of client berlin\n  *:8443 -> 443\n" in text
    assert "ports of client paris\n  *:8000-8009 -> 8000-8009\n" in text
    assert "clients = {berlin = {token = ***}, paris = {token = ***, max_connections = 7}}" in text
    assert "bh1_" not in text


def test_tokens_rebuild_nothing_beside_named_clients() -> None:
    old, new = several(table("a", ["443"])), several(table("a", ["443", "444"], f'tokens = ["{token_of("new")}"]'))
    change = diff(old, new)
    assert (change.rebuild, change.changed) == (False, ("clients",))
    assert [mapping.bind_port for mapping in change.ports_added] == [444]
    assert diff(old, server(table("a", ["443"]))).rebuild is False

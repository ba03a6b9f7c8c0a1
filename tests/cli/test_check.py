"""The output of ``backhaul check`` for a sound file."""

import pytest

from backhaul.cli.check import render
from backhaul.config.loader import parse


def server(ports: str, lines: str = "") -> str:
    return render(parse(f'[server]\nbind_addr = "[::]:3080"\ntransport = "tcpmux"\nports = {ports}\n{lines}'))


@pytest.mark.parametrize(
    ("ports", "lines"),
    [
        ("[]", ["none: no user can connect"]),
        ('["443"]', ["*:443 -> 443"]),
        ('["443-600:5201"]', ["*:443-600 -> 5201"]),
        ('["443-600"]', ["*:443-600 -> 443-600"]),
        ('["1-3=1.1.1.1:7-9", "9=1.1.1.1:10"]', ["*:1-3 -> 1.1.1.1:7-9", "*:9 -> 1.1.1.1:10"]),
        ('["1-2=5", "3-4=6"]', ["*:1-2 -> 5", "*:3-4 -> 6"]),
        ('["1-2=5", "3=6"]', ["*:1-2 -> 5", "*:3 -> 6"]),
        ('["[::1]:443=[::1]:80", "[::1]:444=[::1]:81"]', ["[::1]:443-444 -> [::1]:80-81"]),
        ('["127.0.0.2:1=80", "127.0.0.3:2=80"]', ["127.0.0.2:1 -> 80", "127.0.0.3:2 -> 80"]),
        ('["1=a:80", "2=b:81"]', ["*:1 -> a:80", "*:2 -> b:81"]),
    ],
)
def test_mappings_are_shown_as_ranges(ports: str, lines: list[str]) -> None:
    shown = server(ports).partition("\nports\n")[2].partition("\n\nkeys\n")[0]
    assert [line.strip() for line in shown.splitlines()] == lines


def test_a_client_without_ports_of_its_own_is_no_mistake() -> None:
    text = server(
        "[]",
        '[server.clients.a]\ntoken = "abcdef-two-abcdef"\nports = []\n'
        '[server.groups.web]\nclients = ["a"]\nports = ["1=2"]',
    )
    assert "\nports of client a\n  none\n" in text
    assert "no user can connect" not in text


def test_a_server_shows_values_defaults_and_warnings() -> None:
    text = server('["443"]', 'heartbeat = 7\nmetrics = ["prometheus"]\ntls_cert = "x.crt"')
    assert text.startswith("server, transport tcpmux, tunnel on [::]:3080\n")
    lines = text.splitlines()
    assert "  heartbeat = 7 seconds" in lines
    assert "  mux_con = 8  (default)" in lines
    assert '  metrics = ["prometheus"]' in lines
    assert '  tls_cert = "x.crt"' in lines
    begin = lines.index("warnings")
    assert "ANYONE" in lines[begin + 1]
    assert lines[begin + 2].startswith("  tls_cert: no effect on transport tcpmux")


def test_several_tokens_are_counted_and_not_shown() -> None:
    text = render(
        parse(
            '[client]\nremote_addr = "a:1"\ntransport = "tcp"\ntokens = ["abcdef-abcdef-abcdef", "abcdef-two-abcdef"]'
        )
    )
    assert "  tokens = [***, ***]\n" in text
    assert "\n2 tokens in effect, from tokens\n" in text
    assert "abcdef" not in text


def test_a_client_shows_the_server_and_no_secret() -> None:
    text = render(
        parse(
            '[client]\nremote_addr = "example.com:443"\ntransport = "wss"\n'
            'token = "swordfish-swordfish"\nweb_user = "me"\nweb_password = "swordfish"\ntls_verify = true'
        )
    )
    assert text.startswith("client, transport wss, dials example.com:443\n")
    assert "  token = ***\n" in text
    assert "  web_password = ***\n" in text
    assert '  on_event = ""  (default)\n' in text
    assert "swordfish" not in text
    assert "ports" not in text
    assert "warnings" not in text

"""What is accepted, and hardly meant: a loud word instead of an error."""

import pytest
from tests.support.config import CLIENT, SERVER, client, server

from backhaul.config import ClientConfig, ServerConfig
from backhaul.config.loader import parse


def test_without_a_token_the_warning_is_loud() -> None:
    for text in (SERVER, CLIENT):
        for token in ("", 'token = ""', 'token = "musix"'):
            config = parse(text.replace('token = "t"', token))
            assert config.token.reveal() == "musix"
            [warning] = config.warnings
            assert "ANYONE CAN TAKE OVER" in warning
            assert "musix" not in warning


def test_settings_without_effect_are_warned_of() -> None:
    config = parse(SERVER.replace('"tcp"', '"udp"') + "accept_udp = true\nproxy_protocol = true")
    assert config.warnings == (
        "accept_udp has no effect on transport udp",
        "proxy_protocol has no effect on transport udp",
    )
    assert "tls_verify" in client('tls_ca = "/none"').warnings[0]


@pytest.mark.parametrize("name", ["dial_timeout", "Dial_Timeout"])
def test_a_key_of_the_other_side_is_warned_of_and_ignored(name: str) -> None:
    config = server(f'{name} = "whatever"')
    assert config.warnings == (f"server.{name} has no effect: it is a key of the other side's file; remove it here",)


@pytest.mark.parametrize(
    ("text", "side"),
    [
        (SERVER + CLIENT, ServerConfig),
        (CLIENT + SERVER, ServerConfig),
        ("[server]\n" + CLIENT, ClientConfig),
        (CLIENT + SERVER.replace("0.0.0.0:3080", ""), ClientConfig),
        (SERVER.replace("bind_addr", "Bind_Addr") + "[client]", ServerConfig),
        (SERVER + "[client]\nnonsense = 1", ServerConfig),
    ],
)
def test_of_both_sides_in_one_file_that_one_runs_that_runs_in_the_go_version(text: str, side: type) -> None:
    config = parse(text)
    assert type(config) is side
    [warning] = config.warnings
    assert "only one of them runs" in warning

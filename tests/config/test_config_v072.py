"""Spellings in a configuration that v0.7.2 accepts, and so must this program."""

import pytest

from backhaul.config import ClientConfig, ServerConfig
from backhaul.config.loader import parse

SERVER = '[server]\nbind_addr = "0.0.0.0:3080"\ntransport = "tcp"\n'
CLIENT = '[client]\nremote_addr = "example.com:3080"\ntransport = "ws"\ntoken = "t"\n'


@pytest.mark.parametrize("edge", ["[2606:4700::1]", "2606:4700::1"])
def test_an_edge_of_ipv6_with_or_without_brackets(edge: str) -> None:
    config = parse(CLIENT + f'edge_ip = "{edge}"')
    assert isinstance(config, ClientConfig)
    assert config.edge_ip == "2606:4700::1"


def test_names_in_any_case() -> None:
    """The Go library for TOML matches names in any case."""
    config = parse('[Server]\nBind_Addr = "0.0.0.0:3080"\nTRANSPORT = "tcp"\ntoken = "t"\nHeartBeat = 7')
    assert isinstance(config, ServerConfig)
    assert config.heartbeat == 7


@pytest.mark.parametrize(
    "token", ["\u06a9\u0644\u06cc\u062f\u200c\u0647\u0627", "a\u00a0b", "\U0001f468\u200d\U0001f469"]
)
def test_a_token_of_any_script(token: str) -> None:
    assert parse(SERVER + f'token = "{token}"').token.reveal() == token

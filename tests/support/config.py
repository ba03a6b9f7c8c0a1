"""Small configurations, and the loader's verdict on them."""

import pytest

from backhaul.config import ClientConfig, ConfigError, ServerConfig
from backhaul.config.loader import parse

TOKEN = "0123456789abcdef"
PORTS = 'ports = ["443"]\n'
SERVER = f'[server]\nbind_addr = "0.0.0.0:3080"\ntransport = "tcp"\ntoken = "{TOKEN}"\n'
CLIENT = f'[client]\nremote_addr = "example.com:3080"\ntransport = "tcp"\ntoken = "{TOKEN}"\nsecurity = "required"\n'


def server(text: str) -> ServerConfig:
    config = parse(SERVER + text)
    assert isinstance(config, ServerConfig)
    return config


def client(text: str) -> ClientConfig:
    config = parse(CLIENT + text)
    assert isinstance(config, ClientConfig)
    return config


def problems(text: str) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        parse(text)
    assert all("\n" not in problem for problem in caught.value.problems)
    return caught.value.problems

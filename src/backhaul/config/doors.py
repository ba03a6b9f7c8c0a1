"""The configurations of a client's further servers: its own keys, with what the entries of ``servers`` change."""

from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from typing import Any, Final

import msgspec

from . import advice, checks
from .address import EveryAddress, ServiceAddress
from .common import DEFAULT_TOKEN
from .conversion import read
from .errors import ConfigError
from .keys import keys
from .messages import hint, quoted
from .proxy import find_proxy
from .schema import ClientConfig, Config
from .servers import ServerTable
from .tokens import find_tokens

_ADDRESS, _ADDR = "remote_addr", "addr"  # of [client], of an entry
_WAY: Final = {_ADDR if key.name == _ADDRESS else key.name: key for key in keys(ClientConfig) if key.traits.rebuild}
"""The keys of an entry: those that need a tunnel of their own."""
_NO_TOKEN: Final[dict[str, object]] = {"token": DEFAULT_TOKEN, "tokens": (), "token_file": ""}
_OWN: Final[dict[str, object]] = {"edge_ip": "", "tls_server_name": ""}
"""Keys that belong to the address of ``remote_addr``, and that no other server inherits."""
_LIBRARY: Final = "dns"


def other_servers(config: ClientConfig, environment: Mapping[str, str]) -> tuple[ClientConfig, ...]:
    """Return the configuration of each of ``servers``; raise ConfigError with every mistake."""
    found: list[ClientConfig] = []
    problems: list[str] = []
    for number, table in enumerate(config.servers, 1):
        try:
            found.append(_server(config, table.values, environment))
        except ConfigError as mistakes:
            problems += (f"servers[{number}].{problem}" for problem in mistakes.problems)
    if not problems:
        problems += _twins(config, found)
        problems += _unmeasurable(config, found)
        problems += _not_looked_up(config, found)
    if problems:
        raise ConfigError(problems)
    return tuple(found)


def unusable_servers(config: Config) -> Iterator[str]:
    """Yield a line for each file of these servers that is readable but not usable."""
    for start, _, other in entries(config):
        yield from (start + problem for problem in checks.unusable(other))


def server_warnings(config: Config) -> Iterator[str]:
    """Yield a line for each warning about these servers that does not hold for the first one."""
    heard = set(advice.warnings(config))
    for start, table, other in entries(config):
        yield from (start + line for line in advice.of_another(other, table.values) if line not in heard)


def bare_tokens(config: Config, protected: Callable[[str], bool]) -> Iterator[str]:
    """Yield a line for each server of a client that may get the bare token; the first one's line holds for all.

    ``protected`` tells whether a server was protected before, which is remembered outside of the configuration.
    """
    if isinstance(config, ClientConfig):
        first = tuple(advice.bare_token(config, protected))
        yield from first
        for start, _, other in entries(config):
            yield from (start + line for line in advice.bare_token(other, protected) if line not in first)


def entries(config: Config) -> Iterator[tuple[str, ServerTable, ClientConfig]]:
    """Yield the beginning of the lines about each entry, the entry, and its configuration."""
    if isinstance(config, ClientConfig):
        for number, (table, other) in enumerate(zip(config.servers, config.others, strict=True), 1):
            yield f"servers[{number}].", table, other


def _server(config: ClientConfig, table: Mapping[str, object], environment: Mapping[str, str]) -> ClientConfig:
    problems = [_stray(name) for name in table if name not in _WAY]
    values: dict[str, Any] = {}
    for name in [name for name in _WAY if name == _ADDR or name in table]:
        try:
            values[_WAY[name].name] = _value(name, table)
        except ConfigError as mistakes:
            problems += (f"{name}: {problem}" for problem in mistakes.problems)
    if problems:
        raise ConfigError(problems)
    tokens = _NO_TOKEN if _NO_TOKEN.keys() & values.keys() else {}
    alone = msgspec.structs.replace(config, servers=(), servers_mode="order", **(_OWN | tokens | values))
    return _complete(config, alone, environment, own_token=bool(tokens))


def _value(name: str, table: Mapping[str, object]) -> object:
    key = msgspec.structs.replace(_WAY[name], name=name)
    return read(key, table.get(name), misspelt=[other for other in table if other not in _WAY])


def _stray(name: str) -> str:
    if any(name == key.name for key in keys(ClientConfig)):
        return f"{name}: holds for all servers; write it below [client]"
    return f"{quoted(name)}: unknown key; remove it or correct it{hint(name, _WAY)}"


def _complete(
    config: ClientConfig, other: ClientConfig, environment: Mapping[str, str], *, own_token: bool
) -> ClientConfig:
    """Return ``other`` with its tokens and its proxy; raise ConfigError with mistakes that ``config`` does not have."""
    inherited = set(checks.problems(config))
    if problems := [problem for problem in checks.problems(other) if problem not in inherited]:
        raise ConfigError(problems)
    if own_token:
        accepted, source = find_tokens(other, environment)
        other = msgspec.structs.replace(other, accepted=accepted, token_source=source)
    dialled = other.dialled
    return msgspec.structs.replace(other, way=find_proxy(other.proxy, dialled.host, dialled.port, environment))


def _twins(config: ClientConfig, others: list[ClientConfig]) -> Iterator[str]:
    """Yield the entries that lead to the same server in the same way as an earlier one."""
    earlier = {_way(config): _ADDRESS}
    for number, other in enumerate(others, 1):
        twin = earlier.setdefault(_way(other), f"servers[{number}]")
        if twin != f"servers[{number}]":
            yield f"servers[{number}].addr: the same server in the same way as {twin}; remove one of them"


def _unmeasurable(config: ClientConfig, others: list[ClientConfig]) -> Iterator[str]:
    """Yield the names that stand for several servers, if the best server is wanted."""
    for key, one in _named(config, others) if config.servers_mode == "best" else ():
        if isinstance(one.remote_addr, EveryAddress):
            yield f'{key}: {one.remote_addr} stands for several servers; servers_mode = "best" needs one entry for each'


def _not_looked_up(config: ClientConfig, others: list[ClientConfig]) -> Iterator[str]:
    """Yield the services whose records can't be looked up."""
    for key, one in _named(config, others):
        if isinstance(one.remote_addr, ServiceAddress) and not find_spec(_LIBRARY):
            yield f'{key}: {one.remote_addr} requires dnspython; `pip install "backhaul[srv]"` installs it'


def _named(config: ClientConfig, others: list[ClientConfig]) -> Iterator[tuple[str, ClientConfig]]:
    """Yield the configuration of each server, after the key of its address."""
    yield _ADDRESS, config
    yield from ((f"servers[{number}].addr", other) for number, other in enumerate(others, 1))


def _way(config: ClientConfig) -> tuple[object, ...]:
    return tuple(getattr(config, key.name) for key in _WAY.values())

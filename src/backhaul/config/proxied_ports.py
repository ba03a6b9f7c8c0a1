"""The ports whose targets expect a header of the PROXY protocol, where ``proxy_protocol`` is a table."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from .errors import ConfigError
from .messages import brief, quoted
from .ports import span

ProxyVersion = Literal["v1", "v2"]

_VERSIONS: Final[dict[str, ProxyVersion]] = {"v1": "v1", "v2": "v2"}


@dataclass(frozen=True, slots=True)
class Proxied:
    """The versions of the headers that targets get."""

    usual: ProxyVersion | None
    """That of ports without one of their own; None: no header."""
    ports: Mapping[int, ProxyVersion] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.usual or self.ports)

    def version(self, port: int) -> ProxyVersion | None:
        """Return the version of a port; None: no header."""
        return self.ports.get(port, self.usual)


def by_port(table: Mapping[str, object]) -> dict[int, ProxyVersion]:
    """Return the version of each port; raise ConfigError naming the remedy for names that are no ports, and others."""
    versions: dict[int, ProxyVersion] = {}
    problems: list[str] = []
    for name, text in table.items():
        try:
            ports, version = span(name), _version(text)
        except ValueError as mistake:
            problems.append(f"{quoted(name)}: {mistake}")
            continue
        problems += [f"{quoted(name)}: names port {port} again; remove one" for port in _first(ports, versions)]
        versions |= dict.fromkeys(ports, version)
    if problems:
        raise ConfigError(problems)
    return versions


def _version(value: object) -> ProxyVersion:
    if not isinstance(value, str) or value not in _VERSIONS:
        raise ValueError(f'expected "v1" or "v2", got {brief(value)}')
    return _VERSIONS[value]


def _first(ports: range, taken: Mapping[int, ProxyVersion]) -> Iterator[int]:
    """Yield the first port that is taken, if any."""
    found = next((port for port in ports if port in taken), None)
    yield from () if found is None else (found,)

"""The tables ``[server.clients.NAME]``: clients with tokens and ports of their own."""

from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Final

from msgspec import Struct

from backhaul.wire.allowed import AllowList, Verdict
from backhaul.wire.targets import parse_target

from .errors import ConfigError
from .keys import key
from .limits import (
    QUOTA_ACTION,
    Allow,
    AllowFile,
    Deny,
    DenyFile,
    IdleTimeout,
    Limits,
    MaxLifetime,
    QuotaAction,
    rate_key,
    size_key,
)
from .ports import PORTS_KEY, PortMapping
from .secret import Secret
from .tables import read_table, settings
from .values import ALLOWED, parse_allowed, parse_token, parse_tokens

NO_TOKEN: Final = Secret("")


class ServedClient(Struct, frozen=True, kw_only=True):
    """A client of the server: the one of ``[server]`` itself, without a name, or one of a table of its own."""

    token: Annotated[
        Secret, key("The client's secret, which no other client has.", form="text in quotes", parse=parse_token)
    ] = NO_TOKEN
    tokens: Annotated[
        tuple[Secret, ...],
        key("In place of `token`: each of these.", form="a list of texts in quotes", parse=parse_tokens),
    ] = ()
    token_file: Annotated[str, key("In place of `token`: a file with one token on each line.")] = ""
    ports: Annotated[tuple[PortMapping, ...], PORTS_KEY] = ()
    max_connections: Annotated[int, key("Maximum number of users of this client at a time; 0: no limit.", ge=0)] = 0
    new_users_per_second: Annotated[int, key("Maximum number of new users of this client a second.", ge=0)] = 0
    rate: Annotated[int, rate_key("Maximum bits a second of this client's users, each way.")] = 0
    bytes_per_day: Annotated[int, size_key("Maximum bytes a day of this client's users, both ways together.")] = 0
    bytes_per_month: Annotated[int, size_key("Maximum bytes a month, both ways together.")] = 0
    quota_action: Annotated[QuotaAction, key(QUOTA_ACTION)] = "refuse"
    idle_timeout: IdleTimeout = 0
    max_lifetime: MaxLifetime = 0
    allow: Allow = ()
    allow_file: AllowFile = ""
    deny: Deny = ()
    deny_file: DenyFile = ""
    allow_targets: Annotated[
        tuple[str, ...],
        key(
            "Targets that `ports` may name; empty: all. As on the client, but names are not looked up.",
            form=ALLOWED,
            parse=parse_allowed,
        ),
    ] = ()
    name: str = ""
    """Empty for the client without a table; not a key."""
    accepted: tuple[Secret, ...] = ()
    """The tokens in effect; not a key."""

    @property
    def limits(self) -> Limits:
        """The limits of all its users together."""
        own = {name: getattr(self, name) for name in Limits.__struct_fields__ if hasattr(self, name)}
        return Limits(max_users=self.max_connections, **own)

    @property
    def table(self) -> str:
        """The beginning of the names of its keys."""
        return f"clients.{self.name}." if self.name else ""


class ClientTables(Struct, frozen=True):
    """The clients with a table, in the order of the file."""

    named: tuple[ServedClient, ...] = ()

    def __str__(self) -> str:
        """Return their settings as inline tables of TOML, without secrets."""
        named = (f"{client.name} = {{{settings(client, 'ports')}}}" for client in self.named)
        return f"{{{', '.join(named)}}}"


def parse_clients(table: Mapping[str, object]) -> ClientTables:
    """Read the tables; raise ConfigError with every mistake."""
    problems: list[str] = []
    named = tuple(_client(name, entry, problems.append) for name, entry in table.items())
    if problems:
        raise ConfigError(problems)
    return ClientTables(named)


def _client(name: str, entry: object, mistake: Callable[[str], None]) -> ServedClient:
    return ServedClient(name=name, **read_table(ServedClient, "[server.clients.NAME]", name, entry, mistake))


def forbidden_targets(client: ServedClient, ports: Iterable[PortMapping]) -> list[str]:
    """Return the targets of ``ports`` that ``allow_targets`` of the client does not name."""
    if not client.allow_targets:
        return []
    allowed = AllowList(client.allow_targets)
    targets = dict.fromkeys(mapping.target for mapping in ports)
    return [target for target in targets if allowed.judge(*parse_target(target)) is not Verdict.ALLOWED]

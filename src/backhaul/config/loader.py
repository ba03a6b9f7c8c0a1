"""The loader: reads a TOML file into a typed configuration and reports all mistakes at once."""

import os
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from backhaul.reading import MOST, decoded, read_file_or_pipe

from . import advice, checks, claims
from .address import Address
from .conversion import read
from .doors import other_servers, server_warnings, unusable_servers
from .errors import ConfigError
from .keys import keys
from .messages import brief, hint, quoted
from .other_programs import other_program
from .proxy import find_proxy
from .schema import SIDES, ClientConfig, Config, ServerConfig, side_of
from .tokens import find_tokens, with_tokens
from .toml_mistakes import toml_mistake

_NO_SIDE = "holds neither [server] nor [client]; begin the public side with [server], the other with [client]"
_BOTH_SIDES = "[server] and [client] are in one file, and only one of them runs; move one to a file of its own"
_NO_ENVIRONMENT: Final[Mapping[str, str]] = {}
# Replace mandatory values that are missing or wrong, so that the rest is still checked.
_STAND_INS: dict[str, object] = {
    "transport": "tcp",
    "bind_addr": Address("", 0),
    "remote_addr": Address("", 0),
}


def load(path: str | os.PathLike[str]) -> Config:
    """Read one side's configuration from a file.

    Also checks that the files and directories it names are readable, and readable by their owner alone where they
    hold secrets. Doubtful settings are listed in ``.warnings``. Raises ConfigError with every mistake, each on one line
    that begins with ``path`` as given.
    """
    try:
        config = parse(_read(Path(path)), os.environ)
    except ConfigError as mistakes:
        raise ConfigError(f"{os.fspath(path)}: {problem}" for problem in mistakes.problems) from None
    return _with_warnings(config, (*config.warnings, *advice.exposure(config, path)))


def load_usable(path: str | os.PathLike[str]) -> Config:
    """Read a configuration like ``load``, and check that its TLS files are usable; raise ConfigError.

    This is for the start. A reload may find certificates half renewed; it keeps the old ones then.
    """
    config = load(path)
    if found := _unusable(config):
        raise ConfigError(f"{os.fspath(path)}: {problem}" for problem in found)
    return config


def parse_usable(text: str, environment: Mapping[str, str]) -> Config:
    """Read a configuration like ``parse``, and check that its TLS files are usable; raise ConfigError."""
    config = parse(text, environment)
    if found := _unusable(config):
        raise ConfigError(found)
    return config


def _unusable(config: Config) -> list[str]:
    return [f"{side_of(config)}.{problem}" for problem in (*checks.unusable(config), *unusable_servers(config))]


def parse(text: str, environment: Mapping[str, str] = _NO_ENVIRONMENT) -> Config:
    """Read a configuration from a text; the problems carry no file name. ``environment`` may hold the token."""
    document = _document(text)
    if other := other_program(document):
        raise ConfigError([f"a file of {other}; `backhaul convert FILE` makes files of this program from it"])
    strays = list(_strays(document))
    sides = _sides(document)
    if not sides:
        raise ConfigError([_NO_SIDE, *strays])
    side, *others = sides
    config, problems = _build(side, document[side])
    problems += (f"{side}.{problem}" for problem in checks.problems(config))
    try:
        accepted, source = find_tokens(config, environment)
        config = msgspec.structs.replace(config, accepted=accepted, token_source=source)
        config = _with_ways(config, environment) if isinstance(config, ClientConfig) else _with_clients(config)
    except ConfigError as mistakes:
        problems += (f"{side}.{problem}" for problem in mistakes.problems)
    if problems:
        raise ConfigError(problems)
    strays += (_BOTH_SIDES for _ in others)
    warnings = (*advice.warnings(config), *server_warnings(config))
    return _with_warnings(config, (*strays, *_ignored(side, document[side]), *warnings))


def _with_clients(config: ServerConfig) -> Config:
    """Return the configuration with the tokens of its named clients."""
    config = msgspec.structs.replace(config, clients=with_tokens(config.clients))
    if found := list(claims.token_problems(config)):
        raise ConfigError(found)
    return config


def _with_ways(config: ClientConfig, environment: Mapping[str, str]) -> Config:
    """Return the configuration with its proxy, and with its other servers."""
    host, port = config.dialled.host, config.dialled.port
    config = msgspec.structs.replace(config, way=find_proxy(config.proxy, host, port, environment))
    return msgspec.structs.replace(config, others=other_servers(config, environment))


def _with_warnings(config: Config, warnings: tuple[str, ...]) -> Config:
    return msgspec.structs.replace(config, warnings=warnings)


def _read(path: Path) -> str:
    try:
        data = read_file_or_pipe(path)
    except IsADirectoryError:
        raise ConfigError(["a directory; name one of its files"]) from None
    except OSError as error:
        raise ConfigError([f"cannot be read: {error.strerror}; check the path and its permissions"]) from None
    if len(data) > MOST:
        raise ConfigError([f"larger than {MOST >> 20} MB; name a file of this program"])
    try:
        return decoded(data)
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ConfigError([f"line {line} is not UTF-8 text; save the file as UTF-8"]) from None


def _document(text: str) -> dict[str, Any]:
    try:
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError([toml_mistake(text, error)]) from None
    return _spelled(document, SIDES)


def _spelled(table: dict[str, Any], known: Iterable[str]) -> dict[str, Any]:
    """Return ``table`` with known names in lower case: v0.7.2 reads ``Bind_Addr`` as ``bind_addr``."""
    return {
        name.lower() if name.lower() in known and name.lower() not in table else name: value
        for name, value in table.items()
    }


def _strays(document: dict[str, Any]) -> Iterator[str]:
    """Yield a warning for each name other than the tables of the sides; v0.7.2 ignores them."""
    for name in [name for name in document if name not in SIDES]:
        homes = [side for side in SIDES if name in _names(side)]
        if homes:
            yield f"{quoted(name)}: ignored outside any table; move it below [{'] or ['.join(homes)}]"
        else:
            yield f"{quoted(name)}: unknown table or key, ignored; remove it or correct it{hint(name, SIDES)}"


def _sides(document: dict[str, Any]) -> list[str]:
    """Return the sides present in the file, the one that runs first: as in v0.7.2, a server that has an address."""
    present = [side for side in SIDES if side in document]
    server = document.get("server")
    if len(present) > 1 and isinstance(server, dict) and not _spelled(server, ["bind_addr"]).get("bind_addr"):
        present.reverse()
    return present


def _build(side: str, table: object) -> tuple[Config, list[str]]:
    """Convert key by key; a key that fails gets its default or a stand-in."""
    if not isinstance(table, dict):
        raise ConfigError([f"{side}: expected one table [{side}], got {brief(table)}"])
    schema = SIDES[side]
    table = _spelled(table, _names(side))
    misspelt = _unknown(side, table)
    problems: list[str] = []
    values: dict[str, Any] = {}
    for key in keys(schema):
        try:
            values[key.name] = read(key, table.get(key.name), misspelt=misspelt)
        except ConfigError as mistakes:
            problems += (f"{side}.{key.name}: {problem}" for problem in mistakes.problems)
            values[key.name] = _STAND_INS[key.name] if key.mandatory else key.default
    return schema(**values), problems


def _ignored(side: str, table: dict[str, Any]) -> Iterator[str]:
    """Yield a warning for each name that is not a key of this side.

    v0.7.2 ignores these names, so files that work with it may have some.
    """
    for name in _unknown(side, table):
        yield f"{quoted(name)}: unknown key, ignored; remove it or correct it{hint(name, _names(side))}"
    others = _names_of_the_other(side)
    for name in [name for name in table if name.lower() in others]:
        yield f"{name}: no effect, a key of the other side; remove it here"


def _unknown(side: str, table: dict[str, Any]) -> list[str]:
    own, others = _names(side), _names_of_the_other(side)
    return [name for name in _spelled(table, own) if name not in own and name.lower() not in others]


def _names(side: str) -> list[str]:
    return [key.name for key in keys(SIDES[side])]


def _names_of_the_other(side: str) -> frozenset[str]:
    """Return the keys that this side does not have."""
    return frozenset(name for known in SIDES for name in _names(known)).difference(_names(side))

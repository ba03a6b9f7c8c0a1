"""The tokens in effect: from the keys, a file of their own, the environment, or the service manager's credentials."""

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final

from msgspec import structs

from backhaul.reading import read_file

from .clients import NO_TOKEN, ClientTables, ServedClient
from .common import DEFAULT_TOKEN
from .errors import ConfigError
from .messages import brief, no_path, unreadable
from .schema import Config, ServerConfig
from .secret import Secret
from .values import parse_token

VARIABLE: Final = "BACKHAUL_TOKEN"
CREDENTIAL: Final = "backhaul.token"
"""The name of the credential in a unit: ``LoadCredential=backhaul.token:/path`` (systemd.exec(5))."""
_DIRECTORY: Final = "CREDENTIALS_DIRECTORY"
_MAX_FILE: Final = 1 << 20  # bytes; a device or a log that is named by mistake is refused at once


def find_tokens(config: Config, environment: Mapping[str, str]) -> tuple[tuple[Secret, ...], str]:
    """Return the tokens of a configuration, the client's first choice first, and the name of their source.

    The keys of the file come first, then ``BACKHAUL_TOKEN``, then the credential; without any of them it is the token
    of v0.7.2. Raises ConfigError with lines that begin with the name of the source.
    """
    if source := _source(config, unset=DEFAULT_TOKEN):
        return _from_keys(config, source), source
    tokens, source = _outside(environment)
    if isinstance(config, ServerConfig) and config.clients.named and tokens == (DEFAULT_TOKEN,):
        return (), "none"
    return tokens, source


def with_tokens(clients: ClientTables) -> ClientTables:
    """Return the clients with their tokens; raise ConfigError with lines that begin with the name of a key."""
    problems: list[str] = []
    found = tuple(_with_tokens(client, problems.append) for client in clients.named)
    if problems:
        raise ConfigError(problems)
    return ClientTables(found)


def _with_tokens(client: ServedClient, mistake: Callable[[str], None]) -> ServedClient:
    try:
        source = _source(client, unset=NO_TOKEN)
        if not source:
            mistake(f"{client.table}token: missing; add one (`backhaul token` makes it)")
            return client
        return structs.replace(client, accepted=_from_keys(client, source))
    except ConfigError as mistakes:
        for problem in mistakes.problems:
            mistake(f"{client.table}{problem}")
        return client


def _source(table: Config | ServedClient, unset: Secret) -> str:
    """Return the name of the key that holds the tokens; empty if none does."""
    given = {"token": table.token != unset, "tokens": table.tokens, "token_file": table.token_file}
    names = [name for name, value in given.items() if value]
    if len(names) > 1:
        raise ConfigError([f"{names[1]}: {names[0]} is set, too; keep one of token, tokens and token_file"])
    return names[0] if names else ""


def _from_keys(table: Config | ServedClient, source: str) -> tuple[Secret, ...]:
    if source == "token_file":
        return _read(source, table.token_file)
    return table.tokens if source == "tokens" else (table.token,)


def _outside(environment: Mapping[str, str]) -> tuple[tuple[Secret, ...], str]:
    if text := environment.get(VARIABLE, "").strip():
        return _parse(VARIABLE, [text], "the variable"), VARIABLE
    directory = environment.get(_DIRECTORY)
    if directory and _may_exist(path := Path(directory, CREDENTIAL)):
        return _read(_DIRECTORY, os.fspath(path)), _DIRECTORY
    return (DEFAULT_TOKEN,), "the default of v0.7.2"


def _may_exist(path: Path) -> bool:
    """Return False only if there is no such file; the reader reports a path that cannot be looked up."""
    try:
        path.stat()
    except OSError as error:
        return not isinstance(error, FileNotFoundError | NotADirectoryError)
    return True


def _read(name: str, path: str) -> tuple[Secret, ...]:
    """Return the tokens in a file, one on each line."""
    lines = [line for line in _text(name, path).splitlines() if line.strip()]
    if not lines:
        raise ConfigError(
            [f"{name}: {brief(path)} holds no token; write one on each line (`backhaul token` makes one)"]
        )
    return _parse(name, lines, brief(path))


def _text(name: str, path: str) -> str:
    if objection := no_path(path):
        raise ConfigError([f"{name}: {objection}"])
    try:
        data = read_file(path, _MAX_FILE)
        if len(data) > _MAX_FILE:
            raise ConfigError([f"{name}: {brief(path)} is too large for a file of tokens; name another"])
        return data.decode("utf-8-sig")  # some editors on Windows write a byte order mark first
    except OSError as error:
        raise ConfigError([f"{name}: {unreadable(path, error)}"]) from None
    except UnicodeDecodeError:
        raise ConfigError([f"{name}: {brief(path)} is not UTF-8 text; save it as UTF-8"]) from None
    except ValueError:  # a NUL character
        raise ConfigError([f"{name}: no file can have this name; correct the path"]) from None


def _parse(name: str, texts: Iterable[str], where: str) -> tuple[Secret, ...]:
    try:
        return tuple(parse_token(text.strip()) for text in texts)
    except ValueError as mistake:
        raise ConfigError([f"{name}: {where} holds something that is no token: {mistake}"]) from None

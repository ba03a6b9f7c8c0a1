"""Several configuration files for one process: their names, and the resources that they must not share."""

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from socket import SOCK_DGRAM, SOCK_STREAM
from typing import Final, NamedTuple

from backhaul.paths import is_folder

from .address import Address
from .errors import ConfigError
from .kinds import kinds_of
from .loader import load_usable
from .ports import overlap
from .schema import Config, ServerConfig

_SUFFIX: Final = ".toml"
_PORTS: Final = {SOCK_STREAM: "port", SOCK_DGRAM: "UDP port"}


def find_files(arguments: Iterable[str | os.PathLike[str]]) -> list[Path]:
    """Return the files that arguments name: a file itself, and the files ``*.toml`` of a directory in their order.

    Raises ConfigError for a directory that has none or can't be read.
    """
    found = [file for argument in arguments for file in _of(Path(argument))]
    return list({os.path.abspath(file): file for file in found}.values())  # noqa: PTH100 - keeps links


def load_all(files: Iterable[Path]) -> tuple[dict[Path, Config], list[str]]:
    """Return the usable configurations, and a line for each mistake in the others."""
    usable: dict[Path, Config] = {}
    problems: list[str] = []
    for file in files:
        try:
            usable[file] = load_usable(file)
        except ConfigError as error:
            problems += error.problems
    return usable, problems


def name_files(files: Sequence[Path]) -> dict[str, Path]:
    """Return the files by the names of their ends: without directory and suffix, where that is unique."""
    stems = Counter(file.stem for file in files)
    return {(file.stem if stems[file.stem] == 1 else str(file)): file for file in files}


def clashes(configs: Mapping[Path, Config]) -> Iterator[str]:
    """Yield a line for each address or file that two configurations want, with both places."""
    taken: defaultdict[tuple[str, int | str], list[tuple[Path, _Wanted]]] = defaultdict(list)
    for file, config in configs.items():
        wanted = list(_wanted(config))
        for one in wanted:
            for other, theirs in taken[one.kind, one.what]:
                if overlap(one.host, theirs.host):
                    yield f"{file}: {one.key}: {one} is taken by {theirs.key} of {other}; change one of them"
        for one in wanted:
            taken[one.kind, one.what].append((file, one))


def _of(path: Path) -> list[Path]:
    if not is_folder(path):
        return [path]
    try:
        files = sorted(file for file in path.iterdir() if file.suffix == _SUFFIX and not file.name.startswith("."))
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {error.strerror}; check its permissions"]) from None
    if not files:
        raise ConfigError([f"{path}: holds no file *{_SUFFIX}; add one, or name a file"])
    return files


class _Wanted(NamedTuple):
    """A resource that only one end may have."""

    key: str
    kind: str
    what: int | str
    """A port or a path."""
    host: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.what}"


def _wanted(config: Config) -> Iterator[_Wanted]:
    if isinstance(config, ServerConfig):
        yield _at("server.bind_addr", "port", config.bind_addr)
        if config.facts.datagrams:
            yield _at("server.bind_addr", "UDP port", config.bind_addr)
        kinds = kinds_of(config)
        for owner in config.owners:
            for mapping in owner.ports:
                for kind in sorted(kinds.of(mapping)):
                    yield _at(f"server.{owner.table}ports", _PORTS[kind], mapping.address)
        if config.access_log.startswith("/"):
            yield _Wanted("server.access_log", "file", config.access_log)
    if page := config.page:
        yield _at("web_bind" if page.is_path else "web_port", "port", page)
    if config.sniffer:
        yield _Wanted("sniffer_log", "file", config.sniffer_log)


def _at(key: str, kind: str, address: Address) -> _Wanted:
    return _Wanted(key, "socket", address.host) if address.is_path else _Wanted(key, kind, address.port, address.host)

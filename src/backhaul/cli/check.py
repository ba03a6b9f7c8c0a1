"""The output of ``backhaul check FILE`` for a valid configuration."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

from backhaul.api.messages import Setting as EffectiveSetting
from backhaul.bare_tokens import warned
from backhaul.config import ClientConfig, ConfigError, PortMapping, ServerConfig
from backhaul.config.effective import Setting, settings
from backhaul.config.files import clashes, find_files, load_all
from backhaul.config.schema import Config
from backhaul.net.proxy import Proxy


def check(arguments: Sequence[str], *, strict: bool) -> int:
    """Print what the files describe, and all mistakes; return 2 if there are any, or with ``strict`` warnings."""
    try:
        files = find_files(arguments)
    except ConfigError as error:
        return _complain(error.problems)
    usable, problems = load_all(files)
    configs = {file: warned(config) for file, config in usable.items()}
    for file, config in configs.items():
        print((f"{file}\n\n" if len(files) > 1 else "") + render(config))
    problems += clashes(configs)
    doubtful = strict and any(config.warnings for config in configs.values())
    return _complain(problems) if problems or doubtful else 0


def _complain(problems: Iterable[str]) -> int:
    for problem in problems:
        print(problem, file=sys.stderr)
    return 2


def render(config: Config) -> str:
    """Describe side, transport, port mappings, the value of every key and the warnings; secrets as ``***``."""
    return "\n".join(_lines(config)) + "\n"


def _lines(config: Config) -> Iterator[str]:
    if isinstance(config, ServerConfig):
        yield f"server, transport {config.transport}, tunnel on {config.bind_addr}"
        yield from _map(config)
    else:
        yield from _servers(config)
    yield "\nkeys"
    yield from map(key_line, settings(config))
    if config.accepted:
        count = "1 token" if len(config.accepted) == 1 else f"{len(config.accepted)} tokens"
        yield f"\n{count} in effect, from {config.token_source}"
    if config.warnings:
        yield "\nwarnings"
        yield from (f"  {warning}" for warning in config.warnings)


def _servers(config: ClientConfig) -> Iterator[str]:
    first, *others = (f"{door.remote_addr}{_via(door.way)}" for door in config.doors)
    yield f"client, transport {config.transport}, dials {first}"
    if others:
        yield f"\nservers, in mode {config.servers_mode}"
        yield f"  {first}, transport {config.transport}"
        yield from (f"  {text}, transport {other.transport}" for text, other in zip(others, config.others, strict=True))


def _via(proxy: Proxy | None) -> str:
    return f" via {proxy}" if proxy else ""


def _map(config: ServerConfig) -> Iterator[str]:
    """Yield the ports of each client with their targets."""
    nothing = "none" if config.all_ports else "none: no user can connect"
    for client in config.served:
        yield f"\nports of client {client.name}" if client.name else "\nports"
        yield from _ports(client.ports) if client.ports else [f"  {nothing}"]
    for group in config.groups.named:
        yield f"\nports of group {group.name}: clients {', '.join(group.clients)}, balance {group.balance}"
        yield from _ports(group.ports)


def _ports(mappings: tuple[PortMapping, ...]) -> Iterator[str]:
    for run in _runs(mappings):
        first, last = run[0], run[-1]
        if first.address.is_path:
            yield f"  {first.bind} -> {first.target}"
            continue
        host = f"[{first.bind_host}]" if ":" in first.bind_host else first.bind_host or "*"
        ports = _span(str(first.bind_port), str(last.bind_port))
        protocol = f"/{first.protocol}" if first.protocol else ""
        yield f"  {host}:{ports}{protocol} -> {_span(first.target, last.target)}"


def _runs(mappings: tuple[PortMapping, ...]) -> Iterator[list[PortMapping]]:
    """Split the mappings into ranges."""
    run: list[PortMapping] = list(mappings[:1])
    steady: bool | None = None
    for one, other in pairwise(mappings):
        step = _step(one, other)
        if step is None or steady not in (None, step):
            yield run
            run, steady = [], None
        else:
            steady = step
        run.append(other)
    if run:
        yield run


def _step(one: PortMapping, other: PortMapping) -> bool | None:
    """Return whether the target's port advances with the port, or None if both are not in one range."""
    if (one.bind_host, one.bind_port + 1, one.protocol) != (other.bind_host, other.bind_port, other.protocol):
        return None
    if one.target == other.target:
        return False
    head, port = _split(one.target)
    return True if _split(other.target) == (head, port + 1) else None


def _split(target: str) -> tuple[str, int]:
    head, colon, port = target.rpartition(":")
    return head + colon, int(port) if port.isdigit() else 0


def _span(first: str, last: str) -> str:
    return first if first == last else f"{first}-{last.rpartition(':')[2]}"


def key_line(one: Setting | EffectiveSetting) -> str:
    """Return a key with its value on one line."""
    unit = f" {one.unit}" if one.unit else ""
    mark = "  (default)" if one.default else ""
    return f"  {one.name} = {one.value}{unit}{mark}"

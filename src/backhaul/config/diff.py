"""The difference between two configurations, so that a reload touches nothing else."""

from collections.abc import Iterable
from typing import Final, NamedTuple

from msgspec import Struct

from backhaul.kept_ports import Place, kept

from .keys import keys
from .ports import PortMapping
from .schema import Config, ServerConfig, doors_of, side_of
from .secret import Secret

_TOKENS: Final = frozenset({"token", "tokens", "token_file"})


class Change(Struct, frozen=True, kw_only=True):
    """The difference between two configurations.

    ports_added       new listening ports, of all clients together
    ports_removed     old mappings of ports that are no longer listened on
    ports_retargeted  new mappings of ports that stay and have another target
    rebuild           a key with ``rebuild`` in the schema has changed: the control channel and the pool are made
                      anew, connections in flight stay. Tokens of a server with named clients concern one client each
    restart           names of changed keys that require a restart
    changed           names of all changed keys except ``ports``, including those that need a rebuild or a restart

    When the side changes, all old ports are removed, all new ones added, ``rebuild`` is set, and ``restart`` and
    ``changed`` name the new table instead of keys. Files are compared by name, not by content, except
    for ``token_file``.
    """

    ports_added: tuple[PortMapping, ...] = ()
    ports_removed: tuple[PortMapping, ...] = ()
    ports_retargeted: tuple[PortMapping, ...] = ()
    rebuild: bool = False
    restart: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()


class Retarget(NamedTuple):
    """A port that stays, and has another target or protocol."""

    before: PortMapping
    after: PortMapping


class PortChange(Struct, frozen=True):
    """The difference between two lists of ports."""

    added: tuple[PortMapping, ...]
    removed: tuple[PortMapping, ...]
    retargeted: tuple[Retarget, ...]


def port_change(old: Iterable[PortMapping], new: Iterable[PortMapping]) -> PortChange:
    """Compare two lists of ports; ``kept_ports`` tells which ones stay."""
    before, after = _by_place(old), _by_place(new)
    staying = kept(before, after)
    former = set(staying.values())
    pairs = (Retarget(before[staying[place]], mapping) for place, mapping in after.items() if place in staying)
    return PortChange(
        added=tuple(mapping for place, mapping in after.items() if place not in staying),
        removed=tuple(mapping for place, mapping in before.items() if place not in former),
        retargeted=tuple(pair for pair in pairs if pair.before != pair.after),
    )


def _by_place(ports: Iterable[PortMapping]) -> dict[Place, PortMapping]:
    return {Place(mapping.address, mapping.protocol): mapping for mapping in ports}


def diff(old: Config, new: Config) -> Change:
    """Compare two configurations; equal ones give ``Change()``."""
    if type(old) is not type(new):
        side = (side_of(new),)
        return Change(ports_added=_ports(new), ports_removed=_ports(old), rebuild=True, restart=side, changed=side)
    differing = [
        key for key in keys(type(new)) if key.name != "ports" and getattr(old, key.name) != getattr(new, key.name)
    ]
    changed = [key.name for key in differing]
    if _tokens(old) != _tokens(new) and not _TOKENS.intersection(changed):
        changed.append("token_file")  # the same file, with other tokens
    ports = port_change(_ports(old), _ports(new))
    rebuilding = {key.name for key in differing if key.traits.rebuild}
    apart = _several(old) or _several(new)
    if apart:
        rebuilding -= _TOKENS
    return Change(
        ports_added=ports.added,
        ports_removed=ports.removed,
        ports_retargeted=tuple(pair.after for pair in ports.retargeted),
        rebuild=bool(rebuilding) or (old.accepted != new.accepted and not apart),
        restart=tuple(key.name for key in differing if key.traits.restart),
        changed=tuple(changed),
    )


def protects_alike(old: Config, new: Config) -> bool:
    """Return whether no key differs that protects the tunnel; otherwise the old one must not be used any longer."""
    protecting = (key.name for key in keys(type(new)) if key.traits.protects)
    return old.accepted == new.accepted and all(getattr(old, name) == getattr(new, name) for name in protecting)


def _tokens(config: Config) -> list[tuple[Secret, ...]]:
    return [config.accepted, *(door.accepted for door in doors_of(config))]


def _ports(config: Config) -> tuple[PortMapping, ...]:
    return config.all_ports if isinstance(config, ServerConfig) else ()


def _several(config: Config) -> bool:
    """Return whether a server has named clients, each of which may change without the others."""
    return isinstance(config, ServerConfig) and bool(config.clients.named)

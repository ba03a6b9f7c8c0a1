"""The files of both ends, from the settings that were found."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from backhaul.config.messages import quoted, show
from backhaul.config.tables import NAME, shown
from backhaul.wire.targets import names_path
from backhaul.wire.transports import TRANSPORTS

from .draft import Gap, Service, Settings, listener
from .tunnel import Tunnel

_HEADER: Final = "# Written by `backhaul convert`. Every key: docs/configuration.md\n"
_PAIR: Final = {"tls_cert": "server.crt", "tls_key": "server.key"}
_ORDER: Final = ("bind_addr", "remote_addr", "transport", "token", "token_file", "security", "encryption")


@dataclass(frozen=True, slots=True)
class Files:
    """The files to be written, and the settings that could not be converted."""

    texts: dict[str, str]
    """The text of each file by its name."""
    gaps: tuple[Gap, ...]


def files(tunnel: Tunnel) -> Files:
    """Return the text of each end that the tunnel describes."""
    tunnel.both["security"] = "required"
    if not (tunnel.clients or tunnel.services or "ports" in tunnel.server):
        tunnel.gaps.append(Gap("ports", "the client's file names them", "convert both files together"))
    services = _sound(tunnel)
    _udp(services, tunnel)
    _proxy_protocol(services, tunnel)
    _unix_targets(services, tunnel)
    _certificate(tunnel)
    texts = {"server.toml": _server(tunnel, services)} if tunnel.server else {}
    for name, settings in tunnel.clients.items():
        token = _token(tunnel, name)
        file = f"client-{name}.toml" if name else "client.toml"
        texts[file] = _HEADER + _table("client", tunnel.both | token | settings, ())
    return Files(texts, tuple(dict.fromkeys(tunnel.gaps)))


def _server(tunnel: Tunnel, services: Sequence[Service]) -> str:
    shared: defaultdict[tuple[str, tuple[str, ...]], list[Service]] = defaultdict(list)
    own: defaultdict[str, list[Service]] = defaultdict(list)
    for service in services:
        if len(service.clients) > 1:
            shared[service.group, service.clients].append(service)
        else:
            own["".join(service.clients)].append(service)
    host = tunnel.users_host
    of_datagrams = frozenset(_number(service) for service in services if service.datagrams)
    usual = _Usual(host, "accept_udp" in tunnel.server, of_datagrams)
    tables = [_table("server", tunnel.both | _token(tunnel, "") | tunnel.server, _ports(own[""], usual))]
    named = filter(None, tunnel.clients)
    tables += [_table(f"server.clients.{name}", _token(tunnel, name), _ports(own[name], usual)) for name in named]
    for number, ((group, clients), members) in enumerate(shared.items(), 1):
        name = group if NAME.fullmatch(group) else f"group{number}"
        tables.append(
            _table(
                f"server.groups.{name}", {"clients": list(clients)} | dict(members[0].checks), _ports(members, usual)
            )
        )
    return _HEADER + "\n".join(tables) + _rates(services, tunnel)


def _token(tunnel: Tunnel, name: str) -> Settings:
    return {"token": tunnel.tokens[name]} if name in tunnel.tokens else {}


def _sound(tunnel: Tunnel) -> list[Service]:
    """Return the services that make an entry of ``ports``; TCP and UDP of one port are one entry if they can be."""
    sound: defaultdict[str, list[Service]] = defaultdict(list)
    for service in tunnel.services:
        present = sound[service.listen]
        if not service.target:
            tunnel.gaps.append(Gap(service.key, "its target is in the client's file", "convert both files together"))
        elif not service.listen:
            tunnel.gaps.append(Gap(service.key, "its port is in the server's file", "convert both files together"))
        elif other := next((one for one in present if _meet(one, service) and not _share(one, service)), None):
            reason = f"{service.listen} leads to {' '.join([other.target, *map('of {}'.format, other.clients)])}"
            tunnel.gaps.append(Gap(service.key, reason, "choose another port"))
        elif earlier := next((one for one in present if _share(one, service)), None):
            tunnel.gaps.extend(_lost(earlier, service))
            present[present.index(earlier)] = _joined(earlier, service)
        else:
            present.append(service)
    services = [service for present in sound.values() for service in present]
    for service in services:
        if service.group and len(service.clients) < 2:  # noqa: PLR2004 - a group of one is none
            reason = f"group {quoted(service.group)} has one client in these files"
            tunnel.gaps.append(Gap(service.key, reason, "convert the files of all its clients together"))
    return services


def _share(one: Service, other: Service) -> bool:
    """Return whether two services may have one port: those of TCP and UDP, or of one group."""
    return one.target == other.target and (one.clients == other.clients or "" != one.group == other.group)


def _meet(one: Service, other: Service) -> bool:
    """Return whether two services serve the same protocol."""
    return (one.streams and other.streams) or (one.datagrams and other.datagrams)


def _lost(one: Service, other: Service) -> Iterator[Gap]:
    """Yield the settings of the other service that a common entry can't have."""
    if one.rate and other.rate and one.rate != other.rate:
        table = f"[server.limits.{_number(one)}]"
        yield Gap(other.key, f"all users of port {one.listen} share one rate", f"change it in {table}")
    if _meet(one, other) and one.proxy_protocol != other.proxy_protocol:
        reason = f"all targets of port {one.listen} get the same PROXY protocol header, or none"
        yield Gap(other.key, reason, "let all of them expect the same")


def _joined(one: Service, other: Service) -> Service:
    return replace(
        one,
        streams=one.streams or other.streams,
        datagrams=one.datagrams or other.datagrams,
        proxy_protocol=one.proxy_protocol or other.proxy_protocol,
        rate=one.rate or other.rate,
        clients=tuple(dict.fromkeys((*one.clients, *other.clients))),
    )


def _udp(services: Iterable[Service], tunnel: Tunnel) -> None:
    """Open ports for UDP, too; those of one protocol name it in their entries."""
    if any(service.streams and service.datagrams for service in services):
        tunnel.server["accept_udp"] = True


def _proxy_protocol(services: Iterable[Service], tunnel: Tunnel) -> None:
    """Add the version of all ports, or a table of those whose targets expect a header."""
    versions = {service.proxy_protocol for service in services if service.streams}
    if len(versions) == 1 and (version := versions.pop()):
        tunnel.server["proxy_protocol"] = version
    elif len(versions) > 1:
        expecting = [service for service in services if service.streams and service.proxy_protocol]
        tunnel.server["proxy_protocol"] = {_number(one): one.proxy_protocol for one in expecting}


def _number(service: Service) -> str:
    return service.listen.rpartition(":")[2]


def _unix_targets(services: Iterable[Service], tunnel: Tunnel) -> None:
    for name, settings in tunnel.clients.items():
        own = {service.target for service in services if name in service.clients or not service.clients}
        if paths := sorted(filter(names_path, own)):
            settings["allow_targets"] = ["*", *paths]


def _certificate(tunnel: Tunnel) -> None:
    """Add the files that TLS needs, or remove those that nothing needs."""
    found = {key: tunnel.server.pop(key) for key in _PAIR if key in tunnel.server}
    if not TRANSPORTS[str(tunnel.both["transport"])].tls:
        if found:
            tunnel.gaps.append(Gap("tls_cert", "the token proves the server too, without a certificate"))
    elif tunnel.server:
        tunnel.server |= _PAIR | found
        if not found:
            remedy = "`backhaul cert --name HOST` makes both files where the server runs"
            tunnel.gaps.append(Gap("tls_cert", f"transport {tunnel.both['transport']} needs a certificate", remedy))


def _table(name: str, settings: Settings, entries: Iterable[str]) -> str:
    first = [key for key in _ORDER if key in settings]
    rest = sorted(settings.keys() - set(first))
    lines = [f"{key} = {_value(settings[key])}" for key in (*first, *rest)]
    return "\n".join([f"[{name}]", *lines, *entries, ""])


class _Usual(NamedTuple):
    """What an entry of ``ports`` need not name."""

    host: str
    datagrams: bool
    of_datagrams: frozenset[str]
    """The numbers of ports that an entry has for UDP, on whatever address: one for TCP may cover all of them."""


def _value(value: object) -> str:
    return shown(value) if isinstance(value, dict) else show(value)


def _ports(services: Sequence[Service], usual: _Usual) -> Iterator[str]:
    """Yield the lines of the key ``ports``."""
    if not services:
        return
    yield "ports = ["
    for service in services:
        listen = service.listen if ":" in service.listen else listener(usual.host, service.listen)
        named = f"{listen}{_protocol(service, usual)}"
        entry = named if listen == service.target else f"{named}={service.target}"
        yield f"    {show(entry)},  # {service.name}"
    yield "]"


def _protocol(service: Service, usual: _Usual) -> str:
    if not service.streams:
        return "/udp"
    others = usual.datagrams or _number(service) in usual.of_datagrams
    return "/tcp" if others and not service.datagrams and not names_path(service.target) else ""


def _rates(services: Iterable[Service], tunnel: Tunnel) -> str:
    rates: dict[str, int] = {}
    for service in (one for one in services if one.rate):
        if not service.listen.isdigit():
            tunnel.gaps.append(Gap(service.key, "a rate holds for a single port", "set it in [server.limits.PORT]"))
        elif rates.setdefault(service.listen, service.rate) != service.rate:
            reason = f"TCP and UDP of port {service.listen} share one rate"
            tunnel.gaps.append(Gap(service.key, reason, f"change it in [server.limits.{service.listen}]"))
    return "".join(f"\n[server.limits.{listen}]\nrate = {rate}\n" for listen, rate in rates.items())

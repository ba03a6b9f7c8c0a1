"""The files of both ends, from the settings that were found."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from backhaul.config.messages import few, show
from backhaul.wire.targets import names_path
from backhaul.wire.transports import TRANSPORTS

from .draft import Draft, Gap, Service, Settings, listener

_HEADER: Final = "# Written by `backhaul convert`. Every key: docs/configuration.md\n"
_PAIR: Final = {"tls_cert": "server.crt", "tls_key": "server.key"}
_ORDER: Final = ("bind_addr", "remote_addr", "transport", "token", "token_file", "security", "encryption")


@dataclass(frozen=True, slots=True)
class Files:
    """What is to be written, and what could not be converted."""

    texts: dict[str, str]
    """The text of each file by its name."""
    gaps: tuple[Gap, ...]


def files(draft: Draft, new_token: str) -> Files:
    """Return the text of each end that the draft describes."""
    if not draft.both.keys() & {"token", "token_file"}:
        draft.both["token"] = new_token
        draft.gaps.append(Gap("token", "none was found, so a new one was made", "both ends need the same"))
    draft.both["security"] = "required"
    if draft.server and not (draft.client or draft.services):
        draft.gaps.append(Gap("ports", "the client's file names them", "convert both files together"))
    services = _sound(draft)
    _udp(services, draft)
    _proxy_protocol(services, draft)
    _unix_targets(services, draft)
    _certificate(draft)
    texts = {}
    if draft.server:
        entries = _ports(services, draft.users_host)
        texts["server.toml"] = _HEADER + _table("server", draft.both | draft.server, entries) + _rates(services, draft)
    if draft.client:
        texts["client.toml"] = _HEADER + _table("client", draft.both | draft.client, ())
    return Files(texts, tuple(dict.fromkeys(draft.gaps)))


def _sound(draft: Draft) -> list[Service]:
    """Return the services that make an entry of ``ports``; TCP and UDP of one port are one entry."""
    sound: dict[str, Service] = {}
    for service in draft.services.values():
        earlier = sound.get(service.listen)
        if not service.target:
            draft.gaps.append(Gap(service.key, "its target is in the client's file", "convert both files together"))
        elif not service.listen:
            draft.gaps.append(Gap(service.key, "its port is in the server's file", "convert both files together"))
        elif earlier and earlier.target != service.target:
            draft.gaps.append(Gap(service.key, f"{service.listen} leads to {earlier.target}", "choose another port"))
        else:
            datagrams = service.datagrams or bool(earlier and earlier.datagrams)
            sound[service.listen] = replace(service, datagrams=datagrams)
    return list(sound.values())


def _udp(services: Sequence[Service], draft: Draft) -> None:
    names = dict.fromkeys(service.name for service in services if service.datagrams)
    if names:
        draft.server["accept_udp"] = True
        reason = f"every port opens for TCP and UDP, and only {few(list(names))} serves UDP"
        draft.gaps.append(Gap("accept_udp", reason, "let the firewall close what is not wanted"))


def _proxy_protocol(services: Iterable[Service], draft: Draft) -> None:
    versions = {service.proxy_protocol for service in services if not service.datagrams}
    if len(versions) == 1 and (version := versions.pop()):
        draft.server["proxy_protocol"] = version
    elif len(versions) > 1:
        names = [service.name for service in services if service.proxy_protocol]
        remedy = "set it where all targets expect the header"
        draft.gaps.append(Gap("proxy_protocol", f"holds for all ports, not only {few(names)}", remedy))


def _unix_targets(services: Iterable[Service], draft: Draft) -> None:
    if paths := sorted({service.target for service in services if names_path(service.target)}):
        draft.client["allow_targets"] = ["*", *paths]


def _certificate(draft: Draft) -> None:
    """Add the files that TLS needs, or remove those that nothing needs."""
    found = {key: draft.server.pop(key) for key in _PAIR if key in draft.server}
    if not TRANSPORTS[str(draft.both["transport"])].tls:
        if found:
            draft.gaps.append(Gap("tls_cert", "the token proves the server too, without a certificate"))
    elif draft.server:
        draft.server |= _PAIR | found
        if not found:
            remedy = "`backhaul cert --name HOST` makes both files where the server runs"
            draft.gaps.append(Gap("tls_cert", f"transport {draft.both['transport']} needs a certificate", remedy))


def _table(name: str, settings: Settings, entries: Iterable[str]) -> str:
    first = [key for key in _ORDER if key in settings]
    rest = sorted(settings.keys() - set(first))
    lines = [f"{key} = {show(settings[key])}" for key in (*first, *rest)]
    return "\n".join([f"[{name}]", *lines, *entries, ""])


def _ports(services: Sequence[Service], host: str) -> Iterator[str]:
    """Yield the lines of the key ``ports``."""
    if not services:
        return
    yield "ports = ["
    for service in services:
        listen = service.listen if ":" in service.listen else listener(host, service.listen)
        entry = listen if listen == service.target else f"{listen}={service.target}"
        yield f"    {show(entry)},  # {service.name}"
    yield "]"


def _rates(services: Iterable[Service], draft: Draft) -> str:
    lines = []
    for service in services:
        if service.rate and service.listen.isdigit():
            lines.append(f"\n[server.limits.{service.listen}]\nrate = {service.rate}\n")
        elif service.rate:
            draft.gaps.append(Gap(service.key, "a rate holds for a single port", "set it in [server.limits.PORT]"))
    return "".join(lines)

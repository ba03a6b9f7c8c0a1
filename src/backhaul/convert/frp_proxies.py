"""The proxies of frp: a port of the server and its target each."""

import re
from typing import Final

from .draft import Draft, Gap, Service, target
from .gaps import FRP, RANDOM, gaps
from .table import Table

_UNITS: Final = {"KB": 1024, "MB": 1024**2}  # bytes, as frp counts
_INTERVAL: Final = 10  # seconds between two checks of frp, unless it is told otherwise
_DOMAINS: Final = ("http", "https", "tcpmux")
_VISITED: Final = ("stcp", "sudp", "xtcp")


def service(proxy: Table, draft: Draft) -> None:
    """Add a proxy to a draft, and its settings without a counterpart."""
    kind = proxy.text("type", "tcp")
    if kind in _DOMAINS or kind in _VISITED:
        reason, remedy = FRP["customDomains" if kind in _DOMAINS else "visitors"]
        draft.gaps.append(Gap(proxy.key("type"), f"{kind}: {reason}", remedy))
        return
    listen, aim = _ports(proxy, "remotePort"), _target(proxy)
    if kind not in ("tcp", "udp"):
        draft.gaps.append(Gap(proxy.key("type"), *FRP["type"]))
    elif listen == "0":
        draft.gaps.append(Gap(proxy.key("remotePort"), *RANDOM))
    elif not aim:
        draft.gaps.append(Gap(proxy.key("plugin"), *FRP["plugin"]))
        return
    else:
        draft.services[f"{proxy.key('')} {len(draft.services)}"] = Service(
            name=proxy.title,
            listen=listen,
            target=aim,
            key=proxy.key("remotePort"),
            streams=kind == "tcp",
            datagrams=kind == "udp",
            proxy_protocol=proxy.text("transport.proxyProtocolVersion"),
            rate=_rate(proxy, draft),
            group=proxy.look("loadBalancer.group"),
            checks=_checks(proxy) if proxy.text("loadBalancer.group") else (),
        )
        proxy.text("loadBalancer.groupKey")
    proxy.text("name")
    draft.gaps += gaps(proxy, FRP)


def skipped(proxy: Table) -> Gap:
    """Return the gap for a proxy that does not run."""
    return Gap(proxy.key("name"), "frp does not start it, so it is left out", "add it to ports where it is wanted")


def _target(proxy: Table) -> str:
    """Return the target, empty if it is a server within frp."""
    host, port = proxy.text("localIP", "127.0.0.1"), _ports(proxy, "localPort")
    plugin = proxy.text("plugin.type")
    if plugin == "unix_domain_socket":
        return f"unix:{proxy.text('plugin.unixPath')}"
    return "" if plugin else target(host, port)


def _checks(proxy: Table) -> tuple[tuple[str, str | int], ...]:
    """Take the checks of a target's health, which groups have."""
    kind = proxy.text("healthCheck.type")
    if not kind:
        return ()
    found: dict[str, str | int] = {
        "health": f"http:{proxy.text('healthCheck.path') or '/'}" if kind == "http" else kind,
        "health_interval": proxy.number("healthCheck.intervalSeconds", _INTERVAL),
        "health_fall": proxy.number("healthCheck.maxFailed", 1),
    }
    return tuple(found.items())


def _ports(proxy: Table, name: str) -> str:
    """Take a port, or a range of them, which only the older format has."""
    return proxy.text(name) if proxy.holds_text(name) else str(proxy.number(name))


def _rate(proxy: Table, draft: Draft) -> int:
    """Return bits a second."""
    text = proxy.text("transport.bandwidthLimit")
    found = re.fullmatch(r"(\d{1,9}(?:\.\d{1,6})?)\s*(KB|MB)", text, re.ASCII)
    if text and not found:
        draft.gaps.append(Gap(proxy.key("transport.bandwidthLimit"), *FRP["transport.bandwidthLimit"]))
    return round(float(found[1]) * _UNITS[found[2]] * 8) if found else 0

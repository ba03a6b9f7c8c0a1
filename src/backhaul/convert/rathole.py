"""Files of rathole: a table for each end, with services of one name in both."""

from collections.abc import Callable
from dataclasses import replace

from .draft import EVERYWHERE, OWN_MACHINE, ConvertError, Draft, Gap, Service, Settings
from .frp import dialled_through
from .gaps import RATHOLE, gaps
from .table import Table


def server(table: Table) -> Draft:
    """Convert the table ``[server]``."""
    draft = Draft(server={"bind_addr": table.text("bind_addr")})
    draft.both |= _tunnel(table, draft)
    if interval := table.number("heartbeat_interval"):
        draft.server["heartbeat"] = interval
    _services(table, draft, _listening)
    draft.gaps += gaps(table, RATHOLE)
    return draft


def client(table: Table) -> Draft:
    """Convert the table ``[client]``."""
    draft = Draft(client={"remote_addr": table.text("remote_addr")})
    draft.both |= _tunnel(table, draft)
    if interval := table.number("retry_interval"):
        draft.client["retry_interval"] = interval
    gap = Gap(table.key("transport.tcp.proxy"), *RATHOLE["transport.tcp.proxy"])
    draft.client |= dialled_through(table.text("transport.tcp.proxy"), gap, draft)
    _services(table, draft, _leading)
    draft.gaps += gaps(table, RATHOLE)
    return draft


def _tunnel(table: Table, draft: Draft) -> Settings:
    kind = table.text("transport.type", "tcp")
    tls = table.flag("transport.websocket.tls", default=False)
    settings: Settings = {"transport": "wss" if tls else "ws"} if kind == "websocket" else {"transport": "tcp"}
    if kind in ("tls", "noise"):
        settings["encryption"] = True
    elif kind not in ("tcp", "websocket"):
        raise ConvertError(f"{table.key('transport.type')}: expected tcp, tls, noise or websocket; correct it")
    if table.flag("transport.tcp.nodelay", default=True):
        settings["nodelay"] = True
    if period := table.number("transport.tcp.keepalive_secs"):
        settings["keepalive_period"] = period
    draft.tokens += filter(None, [table.text("default_token")])
    return settings


def _services(table: Table, draft: Draft, complete: Callable[[Service, Table], Service]) -> None:
    for title, service in table.named_tables("services").items():
        token = service.text("token")
        if token and token not in draft.tokens:
            draft.gaps += [Gap(service.key("token"), *RATHOLE["token"])] if draft.client and draft.tokens else []
            draft.tokens.append(token)
        datagrams = service.text("type", "tcp") == "udp"
        whole = Service(name=title, key=service.key(""), streams=not datagrams, datagrams=datagrams)
        draft.services[title] = complete(whole, service)
        draft.gaps += gaps(service, RATHOLE)


def _listening(service: Service, table: Table) -> Service:
    return replace(service, listen=_half(table, "bind_addr", EVERYWHERE))


def _leading(service: Service, table: Table) -> Service:
    return replace(service, target=_half(table, "local_addr", OWN_MACHINE))


def _half(service: Table, name: str, plain: frozenset[str]) -> str:
    """Return half of an entry of ``ports``: the port alone if the host adds nothing."""
    host, _, port = service.text(name).rpartition(":")
    return port if host.strip("[]") in plain else f"{host}:{port}"

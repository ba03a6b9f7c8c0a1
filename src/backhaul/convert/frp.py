"""Files of frp: ``frpc.toml`` and ``frps.toml`` since version 0.52."""

from collections.abc import Iterator
from typing import Final

from backhaul.config.proxy import parse_proxy

from .draft import Draft, Gap, Settings, address
from .frp_proxies import service, skipped
from .gaps import FRP, gaps
from .table import Table

PORT: Final = 7000
"""The port of a server of frp, unless it is told otherwise."""
_TRANSPORTS: Final = {
    ("tcp", True): "tcpmux",
    ("tcp", False): "tcp",
    ("websocket", True): "wsmux",
    ("websocket", False): "ws",
    ("wss", True): "wssmux",
    ("wss", False): "wss",
}


def client(table: Table) -> Draft:
    """Convert a client's file, which lists the ports of the server as well."""
    draft = Draft(name=table.look("user"))
    port = table.number("serverPort", PORT)
    draft.client["remote_addr"] = address(table.text("serverAddr", "0.0.0.0"), port)
    draft.server["bind_addr"] = f"0.0.0.0:{port}"
    draft.both |= _tunnel(table, draft)
    draft.client |= _common(table, draft) | _dialling(table, draft)
    encrypted = table.flag("transport.tls.enable", default=True)
    proxies = list(_started(table, draft))
    if any([encrypted, *[proxy.flag("transport.useEncryption", default=False) for proxy in proxies]]):
        draft.both["encryption"] = True
    for proxy in proxies:
        service(proxy, draft)
    for visitor in table.tables("visitors"):
        draft.gaps.append(Gap(visitor.key("type"), *FRP["visitors"]))
    draft.gaps += gaps(table, FRP)
    return draft


def server(table: Table) -> Draft:
    """Convert a server's file, which has no ports."""
    draft = Draft()
    bind = address(table.text("bindAddr", "0.0.0.0"), table.number("bindPort", PORT))
    draft.server["bind_addr"] = bind
    draft.both |= _tunnel(table, draft)
    if table.flag("transport.tls.force", default=False):
        draft.both["encryption"] = True
    draft.server |= _common(table, draft)
    files = {"tls_cert": table.text("transport.tls.certFile"), "tls_key": table.text("transport.tls.keyFile")}
    draft.server |= {key: path for key, path in files.items() if path}
    if (period := table.number("transport.tcpKeepalive")) > 0:
        draft.server["keepalive_period"] = period
    if table.flag("enablePrometheus", default=False):
        draft.server["metrics"] = ["default", "prometheus"]
    draft.users_host = table.text("proxyBindAddr")
    draft.gaps += gaps(table, FRP)
    return draft


def _started(table: Table, draft: Draft) -> Iterator[Table]:
    """Yield the proxies that run; ``start`` may leave some out."""
    started = table.texts("start")
    for proxy in table.tables("proxies"):
        if not proxy.flag("enabled", default=True) or (started and proxy.text("name") not in started):
            draft.gaps.append(skipped(proxy))
        else:
            yield proxy


def _tunnel(table: Table, draft: Draft) -> Settings:
    protocol, mux = table.text("transport.protocol", "tcp"), table.flag("transport.tcpMux", default=True)
    if (protocol, mux) not in _TRANSPORTS:
        transport = _TRANSPORTS["tcp", True]
        draft.gaps.append(Gap(table.key("transport.protocol"), f"no such transport here, so it is {transport}"))
        return {"transport": transport} | _token(table, draft)
    return {"transport": _TRANSPORTS[protocol, mux]} | _token(table, draft)


def _token(table: Table, draft: Draft) -> Settings:
    table.text("auth.method")
    token, file = table.text("auth.token"), ""
    if table.text("auth.tokenSource.type", "file") == "file":
        file = table.text("auth.tokenSource.file.path")
    draft.tokens += [token] if token else []
    return {"token_file": file} if file else {}


def _common(table: Table, draft: Draft) -> Settings:
    """Return the page and the log of an end."""
    settings: Settings = {}
    if port := table.number("webServer.port"):
        settings |= {"web_port": port, "web_bind": table.text("webServer.addr", "127.0.0.1")}
        settings |= _login(table, draft) | _page_files(table)
    if level := table.text("log.level"):
        settings["log_level"] = level
    return settings


def _login(table: Table, draft: Draft) -> Settings:
    """Return the login of the page; that of frp may lack one half."""
    user, password = table.text("webServer.user"), table.text("webServer.password")
    if user and password:
        return {"web_user": user, "web_password": password}
    if user or password:
        name = "webServer.user" if user else "webServer.password"
        draft.gaps.append(Gap(table.key(name), "a login has a name and a password", "set web_user and web_password"))
    return {}


def _page_files(table: Table) -> Settings:
    """Return the certificate of the page; files of INI may name one without using it."""
    cert, key = table.text("webServer.tls.certFile"), table.text("webServer.tls.keyFile")
    used = table.flag("webServer.tls.mode", default=True)
    return {"web_cert": cert, "web_key": key} if cert and key and used else {}


def _dialling(table: Table, draft: Draft) -> Settings:
    settings: Settings = {
        "connection_pool": table.number("transport.poolCount"),
        "dial_timeout": table.number("transport.dialServerTimeout"),
        "keepalive_period": max(0, table.number("transport.dialServerKeepalive")),
    }
    settings = {key: value for key, value in settings.items() if value}
    interface, proxy = table.text("transport.connectServerInterface"), table.text("transport.proxyURL")
    if interface == "auto":
        draft.gaps.append(Gap(table.key("transport.connectServerInterface"), *FRP["transport.connectServerInterface"]))
    elif interface:
        settings["bind_interface"] = interface
    return settings | dialled_through(proxy, Gap(table.key("transport.proxyURL"), *FRP["transport.proxyURL"]), draft)


def dialled_through(proxy: str, gap: Gap, draft: Draft) -> Settings:
    """Return the key of a client's proxy, or note the gap if it is of an unknown kind."""
    try:
        return {"proxy": parse_proxy(proxy).reveal()} if proxy else {}
    except ValueError:
        draft.gaps.append(gap)
        return {}

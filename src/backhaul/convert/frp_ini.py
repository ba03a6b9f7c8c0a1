"""The older format of frp: INI, whose names are translated to those of TOML."""

import configparser
import re
from collections.abc import Iterator, Mapping
from typing import Final

from .draft import ConvertError
from .frp import PORT

_FLAGS: Final = {"true": True, "false": False}
_LISTS: Final = frozenset({"start", "includes", "customDomains", "locations", "allowUsers"})
_RANGE: Final = "range:"
_TEXTS: Final = frozenset(
    {"auth.token", "webServer.password", "webServer.user", "loadBalancer.group", "loadBalancer.groupKey", "user"}
)
_OF_A_SERVER: Final = ("bind_", "dashboard_", "proxy_bind_", "vhost_")
"""The beginnings of names that only the file of a server has."""
_QUOTED: Final = re.compile(r"(['\"`])((?:(?!\1).)*)\1")

# Names that differ in more than their spelling; a dot at the end stands for a group of settings.
_COMMON: Final = {
    "admin_addr": "webServer.addr",
    "admin_port": "webServer.port",
    "admin_pwd": "webServer.password",
    "admin_user": "webServer.user",
    "assets_dir": "webServer.assetsDir",
    "authenticate_": "auth.additionalScopes.",
    "authentication_method": "auth.method",
    "connect_server_local_ip": "transport.connectServerLocalIP",
    "dashboard_addr": "webServer.addr",
    "dashboard_port": "webServer.port",
    "dashboard_pwd": "webServer.password",
    "dashboard_tls_": "webServer.tls.",
    "dashboard_user": "webServer.user",
    "disable_custom_tls_first_byte": "transport.tls.disableCustomTLSFirstByte",
    "disable_log_color": "log.disablePrintColor",
    "http_proxy": "transport.proxyURL",
    "log_file": "log.to",
    "log_": "log.",
    "meta_": "metadatas.",
    "oidc_": "auth.oidc.",
    "pprof_enable": "webServer.pprofEnable",
    "nat_hole_analysis_data_reserve_hours": "natholeAnalysisDataReserveHours",
    "quic_bind_port": "quicBindPort",
    "quic_": "transport.quic.",
    "subdomain_host": "subDomainHost",
    "tls_only": "transport.tls.force",
    "tls_": "transport.tls.",
    "token": "auth.token",
    "tcpmux_httpconnect_port": "tcpmuxHTTPConnectPort",
}
_IN_TRANSPORT: Final = (
    *("connect_server_interface", "dial_server_keepalive", "dial_server_timeout", "heartbeat_interval"),
    *("heartbeat_timeout", "max_pool_count", "pool_count", "protocol", "tcp_keepalive", "tcp_mux"),
    "tcp_mux_keepalive_interval",
)
_PROXY: Final = {
    "bandwidth_limit": "transport.bandwidthLimit",
    "bandwidth_limit_mode": "transport.bandwidthLimitMode",
    "group_key": "loadBalancer.groupKey",
    "group": "loadBalancer.group",
    "health_check_": "healthCheck.",
    "local_ip": "localIP",
    "meta_": "metadatas.",
    "plugin_": "plugin.",
    "plugin": "plugin.type",
    "proxy_protocol_version": "transport.proxyProtocolVersion",
    "use_compression": "transport.useCompression",
    "use_encryption": "transport.useEncryption",
}


def read(text: str, file: str) -> dict[str, object]:
    """Return the document that the text would be in TOML; raise ConvertError for one that is not INI."""
    parser = configparser.RawConfigParser(strict=False, delimiters=("=",))
    parser.optionxform = str  # type: ignore[assignment,method-assign] # as the documentation asks for
    try:
        parser.read_string(text)
    except configparser.Error as error:  # its text holds lines of the file
        raise ConvertError(f"{file}: line {_line(error)} is no INI; correct it") from None
    if not parser.has_section("common"):
        raise ConvertError(f"{file}: no section [common]; name a file of frp")
    common = parser["common"]
    document = _nested(_translated(common, _COMMON))
    sections = [parser[name] for name in parser.sections() if name != "common"]
    if _is_of_a_server(common, file):
        plugins = {"httpPlugins": [dict(section) for section in sections]} if sections else {}
        return {"bindPort": PORT} | document | plugins
    visitors = [section for section in sections if section.get("role") == "visitor"]
    proxies = [proxy for section in sections if section not in visitors for proxy in _proxies(section)]
    named = {"proxies": proxies, "visitors": [_proxy(visitor) for visitor in visitors]}
    return {"serverPort": PORT} | document | named


def _is_of_a_server(common: Mapping[str, str], file: str) -> bool:
    if "server_addr" in common:
        return False
    return "frps" in file or any(name.startswith(_OF_A_SERVER) for name in common)


def _line(error: configparser.Error) -> int:
    """Return the number of the first line that is wrong; an error names that one, or has a list."""
    errors = getattr(error, "errors", None) or [(getattr(error, "lineno", 1), "")]
    return int(errors[0][0])


def _proxies(section: configparser.SectionProxy) -> Iterator[dict[str, object]]:
    """Yield the proxies of a section; one with ranges is split at its commas."""
    whole = _proxy(section)
    if not section.name.startswith(_RANGE):
        yield whole
        return
    local, remote = (re.sub(r"\s", "", section.get(name) or "").split(",") for name in ("local_port", "remote_port"))
    if len(local) != len(remote):
        yield whole  # `ports` of this program has the same rule, and names the mistake
        return
    for port, other in zip(local, remote, strict=True):
        yield whole | {"localPort": port, "remotePort": other}


def _proxy(section: configparser.SectionProxy) -> dict[str, object]:
    named = {"name": section.name.removeprefix(_RANGE)}
    return named | _nested(_translated({name: section[name] for name in section if name != "role"}, _PROXY))


def _translated(section: Mapping[str, str], names: Mapping[str, str]) -> Iterator[tuple[str, object]]:
    for name, value in section.items():
        path, quoted = _path(name, names), _QUOTED.fullmatch(value)
        yield path, _value(path, quoted[2] if quoted else value)


def _path(name: str, names: Mapping[str, str]) -> str:
    if name in names:
        return names[name]
    group = next((one for one in names if one.endswith("_") and name.startswith(one)), "")
    prefix = "transport." if name in _IN_TRANSPORT and names is _COMMON else names.get(group, "")
    return prefix + re.sub(r"_(\w)", lambda found: found[1].upper(), name.removeprefix(group))


def _value(path: str, text: str) -> object:
    """Return a value of the type that it has in TOML."""
    if path in _LISTS:
        return [part.strip() for part in text.split(",") if part.strip()]
    if path in _TEXTS:
        return text
    if text in _FLAGS:
        return _FLAGS[text]
    return int(text) if re.fullmatch(r"-?\d{1,18}", text, re.ASCII) else text


def _nested(settings: Iterator[tuple[str, object]]) -> dict[str, object]:
    """Return tables by their dotted names; a value in the place of a table gives way."""
    document: dict[str, object] = {}
    for path, value in settings:
        *tables, name = path.split(".")
        table = document
        for one in tables:
            inner = table.get(one)
            if not isinstance(inner, dict):
                inner = table[one] = {}
            table = inner
        table[name] = value
    return document

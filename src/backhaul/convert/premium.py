"""Files of the premium edition of Backhaul: tables by subject, below ``[listener]`` of a server or ``[dialer]``.

Its files of before, with ``[server]`` or ``[client]``, need no conversion: this program runs them.
"""

from collections.abc import Mapping
from typing import Final

from backhaul.wire.transports import TRANSPORTS

from .draft import ConvertError, Draft, Gap, Settings
from .gaps import PREMIUM, gaps
from .table import Table

_NEAREST: Final = {"xtcpmux": "tcpmux", "xwsmux": "wsmux", "anytls": "wssmux", "tun": "tcpmux"}
"""Transports of that program alone, and those of this one with the same purpose."""
_FORWARDS_UDP: Final = "iptables"  # a way out of a tun, beside one for TCP alone
_BOTH_ENDS: Final = {
    "transport.keepalive_period": "keepalive_period",
    "mux.mux_version": "mux_version",
    "mux.mux_framesize": "mux_framesize",
    "mux.mux_recievebuffer": "mux_recievebuffer",
    "mux.mux_streambuffer": "mux_streambuffer",
    "tuning.tcp_mss": "mss",
    "tuning.so_rcvbuf": "so_rcvbuf",
    "tuning.so_sndbuf": "so_sndbuf",
    "accept_udp.peer_idle_timeout_s": "udp_timeout",
}
_OF_A_SERVER: Final = {
    "transport.heartbeat_interval": "heartbeat",
    "mux.mux_concurrency": "mux_con",
    "tuning.channel_size": "channel_size",
}
_OF_A_CLIENT: Final = {
    "dialer.dial_timeout": "dial_timeout",
    "dialer.retry_interval": "retry_interval",
    "transport.connection_pool": "connection_pool",
}


def server(table: Table) -> Draft:
    """Convert a file with ``[listener]``."""
    draft = _draft(table)
    draft.server = {"bind_addr": table.text("listener.bind_addr")} | _own(table, _OF_A_SERVER)
    if table.flag("transport.accept_udp", default=False) or table.look("ports.forwarder") == _FORWARDS_UDP:
        draft.server["accept_udp"] = True
    if table.flag("transport.proxy_protocol", default=False):
        draft.server["proxy_protocol"] = "v2"
    draft.server |= _texts(table, {"tls.tls_cert": "tls_cert", "tls.tls_key": "tls_key"})
    draft.server["ports"] = table.texts("ports.mapping")
    draft.gaps += gaps(table, PREMIUM)
    return draft


def client(table: Table) -> Draft:
    """Convert a file with ``[dialer]``."""
    draft = _draft(table)
    draft.client = {"remote_addr": table.text("dialer.remote_addr")} | _own(table, _OF_A_CLIENT)
    draft.client |= _texts(table, {"dialer.edge_ip": "edge_ip"})
    if TRANSPORTS[str(draft.both["transport"])].tls:
        draft.client |= _texts(table, {"tls.sni": "tls_server_name"})
    draft.gaps += gaps(table, PREMIUM)
    return draft


def _draft(table: Table) -> Draft:
    draft = Draft()
    draft.both["transport"] = _transport(table, draft)
    draft.tokens += filter(None, [table.text("security.token")])
    if table.flag("security.enable_encryption", default=False):
        draft.both["encryption"] = True
    return draft


def _transport(table: Table, draft: Draft) -> str:
    kind = table.text("transport.type", "tcp")
    nearest = _NEAREST.get(kind, kind)
    if nearest not in TRANSPORTS:
        raise ConvertError(f"{table.key('transport.type')}: expected one of {', '.join(TRANSPORTS)}; correct it")
    if nearest != kind:
        reason = f"{kind} is a transport of that program alone, so both ends get {nearest}"
        draft.gaps.append(Gap(table.key("transport.type"), reason, "choose another one in docs/transports.md"))
    return nearest


def _own(table: Table, of_one_end: Mapping[str, str]) -> Settings:
    """Return the settings of one end, without those that are 0, which leaves them to the program."""
    numbers = {key: table.number(name) for name, key in {**_BOTH_ENDS, **of_one_end}.items()}
    settings: Settings = {key: number for key, number in numbers.items() if number}
    if table.flag("transport.nodelay", default=False):
        settings["nodelay"] = True
    settings |= _texts(table, {"logging.log_level": "log_level"})
    return settings


def _texts(table: Table, names: Mapping[str, str]) -> Settings:
    return {key: text for name, key in names.items() if (text := table.text(name))}

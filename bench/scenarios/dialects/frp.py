"""The files of frps and frpc."""

from functools import partial
from typing import NamedTuple

from bench.processes import LOOPBACK
from bench.scenarios.dialects.toml import pairs, section
from bench.scenarios.dialects.wiring import TOKEN, Files, Modes, Wiring


class _Mode(NamedTuple):
    protocol: str
    mux: bool = False
    tls: bool = False


# frps leaves the TLS of its protocol wss to a web server in front of it; a WebSocket with TLS inside costs the same.
MODES = {
    "tcp": _Mode("tcp"),
    "tcpmux": _Mode("tcp", mux=True),
    "ws": _Mode("websocket"),
    "wss": _Mode("websocket", tls=True),
    "wsmux": _Mode("websocket", mux=True),
    "wssmux": _Mode("websocket", mux=True, tls=True),
    "udp": _Mode("tcp"),
    "tcp+udp": _Mode("tcp"),
    "tcpmux+udp": _Mode("tcp", mux=True),
    # Its streams have windows of their own, like those of mux_version 2.
    "tcpmux v2": _Mode("tcp", mux=True),
    "wsmux v2": _Mode("websocket", mux=True),
    "wssmux v2": _Mode("websocket", mux=True, tls=True),
}


def modes(variant: str) -> Modes:
    """Return frp's mode nearest to a variant, if there is one."""
    return {"": partial(_files, MODES[variant])} if variant in MODES else {}


def _files(mode: _Mode, wiring: Wiring) -> Files:
    server = {
        "bindAddr": wiring.listen,
        "bindPort": wiring.bind,
        "proxyBindAddr": LOOPBACK,
        "transport.tls.certFile": str(wiring.secrets.certificate),
        "transport.tls.keyFile": str(wiring.secrets.key),
        "transport.tls.force": mode.tls,  # unencrypted connections would be refused
    }
    client = {
        "serverAddr": wiring.host,
        "serverPort": wiring.bind,
        "transport.protocol": mode.protocol,
        "transport.tls.enable": mode.tls,
    }
    common = {"auth.token": TOKEN, "log.level": "warn", "transport.tcpMux": mode.mux}
    return Files(pairs({**server, **common}), pairs({**client, **common}) + _proxies(wiring))


def _proxies(wiring: Wiring) -> str:
    return "".join(
        section(
            "[proxies]",
            {
                "name": service,
                "type": wiring.protocol,
                "localIP": LOOPBACK,
                "localPort": target,
                "remotePort": wiring.ports[service],
            },
        )
        for service, target in wiring.targets.items()
    )

"""The files of rathole, which has a connection for each user: comparable with tcp, ws, wss and datagrams.

Its encryption by Noise (pattern NK) is compared with every sealed transport over TCP, those of sessions included.
"""

from collections.abc import Mapping
from functools import partial

from bench.processes import LOOPBACK
from bench.scenarios.dialects.toml import section
from bench.scenarios.dialects.wiring import PKCS12_PASSWORD, TOKEN, Files, Modes, Wiring

# variant -> label -> transport.type; "wss" is a WebSocket over TLS
TRANSPORTS = {
    "tcp": {"": "tcp"},
    "ws": {"": "websocket"},
    "wss": {"": "wss", "tls": "tls", "noise": "noise"},
    "tcp sealed": {"": "noise"},
    "tcpmux sealed": {"": "noise"},
    "udp": {"": "tcp"},
    "udp sealed": {"": "noise"},
    "tcp+udp": {"": "tcp"},
}


def modes(variant: str) -> Modes:
    """Return rathole's modes to compare with a variant, the nearest first; none for multiplexed variants."""
    return {label: partial(_files, transport) for label, transport in TRANSPORTS.get(variant, {}).items()}


def _files(transport: str, wiring: Wiring) -> Files:
    server = _side("server", {"bind_addr": f"{wiring.listen}:{wiring.bind}"}, transport) + _server_secrets(
        transport, wiring
    )
    client = _side("client", {"remote_addr": f"{wiring.host}:{wiring.bind}"}, transport) + _client_secrets(
        transport, wiring
    )
    return Files(
        server + _services("server", "bind_addr", wiring.ports, wiring.protocol),
        client + _services("client", "local_addr", wiring.targets, wiring.protocol),
    )


def _side(side: str, address: Mapping[str, str], transport: str) -> str:
    kind = "websocket" if transport == "wss" else transport
    text = section(side, {**address, "default_token": TOKEN})
    text += section(f"{side}.transport", {"type": kind})
    if kind == "websocket":
        text += section(f"{side}.transport.websocket", {"tls": transport == "wss"})
    return text


def _server_secrets(transport: str, wiring: Wiring) -> str:
    if transport == "noise":
        return section("server.transport.noise", {"local_private_key": wiring.secrets.noise_private})
    identity = {"pkcs12": str(wiring.secrets.pkcs12), "pkcs12_password": PKCS12_PASSWORD}
    return section("server.transport.tls", identity) if transport in {"tls", "wss"} else ""


def _client_secrets(transport: str, wiring: Wiring) -> str:
    if transport == "noise":
        return section("client.transport.noise", {"remote_public_key": wiring.secrets.noise_public})
    trust = {"trusted_root": str(wiring.secrets.certificate), "hostname": "localhost"}
    return section("client.transport.tls", trust) if transport in {"tls", "wss"} else ""


def _services(side: str, key: str, ports: dict[str, int], protocol: str) -> str:
    return "".join(
        section(f"{side}.services.{service}", {"type": protocol, key: f"{LOOPBACK}:{port}"})
        for service, port in ports.items()
    )

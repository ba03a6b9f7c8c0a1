"""Beginnings of other protocols, which reveal a proxy, or another end, that does not fit the server.

Each function returns the fault with its remedy, and nothing for all other bytes, such as those of web browsers.
"""

from typing import Final

from .proxy import SIGNATURE
from .transports import Transport

HTTP_2: Final = "it begins with HTTP/2: let the proxy in between send HTTP/1.1 to this server"
_PROXY: Final = (
    "it begins with a PROXY protocol header, which this server does not read: remove send-proxy (HAProxy) or "
    "proxy_protocol (nginx) from the proxy in between"
)
_BEGINNINGS: Final = ((b"PROXY ", _PROXY), (SIGNATURE, _PROXY), (b"PRI * HTTP/2.0\r\n", HTTP_2))
_FIT: Final = "set the same transport on both ends, and let a proxy in between connect"
_TLS: Final = b"\x16\x03"  # a record with a handshake (RFC 8446, section 5.1)
_UPGRADE: Final = b"upgrade: websocket"


def unreadable(data: bytes) -> str:
    """Judge the first bytes of a connection, whatever its transport, or of what TLS carries on it."""
    return next((fault for beginning, fault in _BEGINNINGS if data.startswith(beginning)), "")


def foreign(data: bytes, transport: Transport) -> str:
    """Judge the first bytes of a connection, outside of TLS, to a server with this transport."""
    if fault := unreadable(data):
        return fault
    if data.startswith(_TLS) and not transport.tls:
        return f"it begins with TLS, which {transport.name} does not use: {_FIT} without TLS"
    if data.startswith(b"GET ") and _UPGRADE in data.lower():
        return _fault_of_upgrade(transport)
    return ""


def _fault_of_upgrade(transport: Transport) -> str:
    if transport.tls:
        return f"it asks for a WebSocket without TLS, which {transport.name} requires: {_FIT} with TLS"
    if transport.http:
        return ""
    return f"it asks for a WebSocket, which {transport.name} does not use: set the same transport on both ends"

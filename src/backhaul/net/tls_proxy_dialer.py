"""Connections through a proxy that is itself reached over TLS."""

import functools
import socket
import ssl
from typing import Final

from backhaul.errors import TransportError
from backhaul.wire.proxies import Step

from .bridge import Bridges
from .poller import Poller
from .proxy import Proxy
from .proxy_dialer import READ_SIZE, Passage, ProxyDialer
from .resolver import Resolver
from .tls import ClientContext, ClientTls, shake_hands


class TlsProxyDialer(ProxyDialer):
    """Connects through such a proxy, whose certificate is verified with the system's authorities."""

    def __init__(self, poller: Poller, timeout: float, resolver: Resolver, proxy: Proxy, bridges: Bridges) -> None:
        super().__init__(poller, timeout, resolver, proxy)
        self._bridges = bridges
        self._tls: Final = ClientContext(ClientTls(proxy.host, verify=True))

    def _begin(self, passage: Passage, sock: socket.socket) -> None:
        """Shake hands first."""
        passage.sock = sock
        try:
            passage.sock = wrapped = self._tls.wrap(sock)
        except OSError as error:
            self._fail(passage, error)
        else:
            shake_hands(self._poller, wrapped, functools.partial(self._shaken, passage))

    def _shaken(self, passage: Passage, result: socket.socket | Exception) -> None:
        if passage not in self._running:
            return
        if isinstance(result, Exception):
            passage.sock = None  # closed already
            self._fail(passage, result)
        else:
            super()._begin(passage, result)

    def _look(self, sock: socket.socket) -> bytes:
        """Return a whole record: bytes can't be peeked at."""
        return sock.recv(READ_SIZE)

    def _take(self, sock: socket.socket, data: bytes, step: Step) -> socket.socket:
        """Return a plain socket, whose first bytes are those after the answer."""
        if not step.done:
            return sock
        if not isinstance(sock, ssl.SSLSocket):
            raise TransportError("the connection to the proxy has no TLS")
        self._tls.remember(sock)
        return self._bridges.build(self._poller, sock, data[step.taken :])

"""The address of the public end for clients, where the tunnels of all of them arrive."""

import errno
import logging
from collections.abc import Mapping

from backhaul.config import ServerConfig
from backhaul.errors import reason
from backhaul.net.listeners import Listeners
from backhaul.transports.gates.reception import Reception
from backhaul.transports.public_end import Gate, ServerTransport

from .retries import Retries
from .server import ServerTunnel
from .timings import Timings

log = logging.getLogger("backhaul.server")


class Front:
    """Owns the reception, through which the transports of all tunnels get their connections."""

    def __init__(
        self,
        config: ServerConfig,
        reception: Reception,
        tunnels: Mapping[str, ServerTunnel],
        timings: Timings,
        listeners: Listeners,
    ) -> None:
        """``tunnels`` holds the tunnels by the names of their clients, also those that come later."""
        self._config = config
        self._reception = reception
        self._tunnels = tunnels
        self._timings = timings
        self._listeners = listeners
        self._retries = Retries(self._restart, timings.reopen_pauses)
        self.problem = ""
        """The reason why no client can connect, as far as this end knows; otherwise empty."""

    def start(self) -> None:
        """Listen for clients; raise OSError if the address is in use.

        An address that this machine does not have yet is retried, and so is one that the previous process is about to
        release.
        """
        try:
            self._listen()
        except OSError as error:
            if error.errno == errno.EADDRINUSE and self._listeners.shared:
                self._listen_after_release(error)
            elif error.errno == errno.EADDRNOTAVAIL:
                self._listen_later(error)
            else:
                raise

    def move(self, config: ServerConfig, reception: Reception, transports: Mapping[str, ServerTransport]) -> None:
        """Replace reception and transports; ports, waiting users and users in flight stay.

        Raises OSError if that is impossible; the old ones stay in use then.
        """
        elsewhere = config.bind_addr.port != self._config.bind_addr.port
        reception.succeed(self._reception)
        before, old = self._reception, {name: tunnel.transport for name, tunnel in self._tunnels.items()}
        if elsewhere:
            self._start(reception, transports)
        for tunnel in self._tunnels.values():
            tunnel.detach()
        before.close()
        if not elsewhere:
            try:
                self._start(reception, transports)
            except OSError:
                self._start(before, old)
                raise
        self._config, self._reception = config, reception
        for name, tunnel in self._tunnels.items():
            tunnel.attach(transports[name], config.transport)
        self._listening()

    def gate_of(self, client: str) -> Gate:
        """Return the gate as the carrier of the client with this name sees it."""
        return self._reception.gate_of(client)

    def stop(self) -> None:
        """Stop listening."""
        self._retries.stop()
        self._reception.close()

    def _listen(self) -> None:
        self._start(self._reception, {name: tunnel.transport for name, tunnel in self._tunnels.items()})

    def _start(self, reception: Reception, transports: Mapping[str, ServerTransport]) -> None:
        try:
            for name, transport in transports.items():
                transport.start(self._tunnels[name])
            reception.listen()
        except OSError:
            for transport in transports.values():
                transport.stop_listening()
            raise

    def _listen_after_release(self, error: OSError) -> None:
        self.problem = f"can't listen on {self._config.bind_addr}: {reason(error)}"
        log.info("%s: in use by the stopping process; waiting until it is free", self._config.bind_addr)
        self._retries = Retries(self._restart, self._timings.release_pauses)
        self._retries.start()

    def _listen_later(self, error: OSError) -> None:
        self.problem = f"can't listen on {self._config.bind_addr}: {reason(error)}"
        log.error("%s; retried until this machine has the address", self.problem)
        self._retries.start()

    def _restart(self) -> bool:
        """Try again to listen for clients; return whether that succeeded."""
        try:
            self._listen()
        except OSError as error:
            log.debug("%s: %s", self._config.bind_addr, reason(error))
            return False
        log.info("%s server now listens on %s", self._config.transport, self._config.bind_addr)
        self._listening()
        return True

    def _listening(self) -> None:
        self.problem = ""
        self._retries.stop()

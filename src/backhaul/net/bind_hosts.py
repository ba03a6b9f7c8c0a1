"""Look-up of the names to which sockets are bound, without blocking the event loop."""

import asyncio
import errno
from collections.abc import Iterable
from typing import Final

from backhaul.wire.targets import parse_ip

from .resolver import Answer, LookUp, Resolver
from .sockets import EVERYWHERE

_PATIENCE: Final = 5.0  # seconds that a start or a reload waits for a name server


class BindHosts:
    """The addresses of the hosts in ``ports`` and ``bind_addr``; most of them are no names."""

    def __init__(self, names: LookUp, patience: float = _PATIENCE) -> None:
        """Look names up with ``names``, which is called in threads and may block."""
        self._look_up = names
        self._patience = patience
        self._resolver: Resolver | None = None

    async def learn(self, hosts: Iterable[str]) -> None:
        """Wait until all names among ``hosts`` are looked up, or until the time limit."""
        names = {host for host in hosts if not _is_numeric(host)}
        waiting = [asyncio.get_running_loop().create_future() for _ in names]
        queries = [self._names().resolve(name, answer.set_result) for name, answer in zip(names, waiting, strict=True)]
        if waiting:
            await asyncio.wait(waiting, timeout=self._patience)
        for query in queries:
            query.cancel()

    def address(self, host: str) -> str:
        """Return the host's address; raise OSError while it is unknown."""
        if _is_numeric(host):
            return host
        answers: list[Answer] = []
        self._names().resolve(host, answers.append).cancel()
        found = answers[0] if answers else OSError(errno.EAGAIN, f"name {host} not looked up yet")
        if isinstance(found, OSError):
            raise found
        return str(found[0][1][0])

    def close(self) -> None:
        """Stop waiting for look-ups."""
        if self._resolver:
            self._resolver.close()

    def _names(self) -> Resolver:
        self._resolver = self._resolver or Resolver(lookup=self._look_up)
        return self._resolver


def _is_numeric(host: str) -> bool:
    return host in EVERYWHERE or host.startswith("/") or parse_ip(host) is not None  # "/": the path of a Unix socket

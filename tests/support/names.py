"""A resolver played by the test: some names are known, others silent until the test releases them."""

import socket
import threading
from collections import Counter

from backhaul.net.resolver import Found

from .net import PATIENCE


class Names:
    """Finds the addresses of names; a name without addresses is silent until ``let_go``."""

    def __init__(self, **known: str | OSError) -> None:
        self.known: dict[str, str | OSError] = {name.replace("_", "."): answer for name, answer in known.items()}
        self.asked: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._let_go = threading.Event()

    def __call__(self, name: str) -> Found:
        with self._lock:
            self.asked[name] += 1
        if name not in self.known:
            self._let_go.wait(PATIENCE)
        answer = self.known.get(name, socket.gaierror(socket.EAI_AGAIN, "no name server answers"))
        if isinstance(answer, OSError):
            raise answer
        return ((socket.AF_INET, (answer, 0)),)

    def silence(self, name: str) -> None:
        """Do not answer for this name from now on."""
        del self.known[name]
        self._let_go.clear()

    def let_go(self) -> None:
        """Answer the queries that wait, with an address known by now or with a failure."""
        self._let_go.set()

"""The tokens of clients on the server, and those of the client itself."""

import hmac
import logging
from collections.abc import Iterable, Mapping
from typing import Final

log = logging.getLogger("backhaul.client")

UNNAMED: Final = ""
"""The name of the client whose tokens are in ``[server]`` itself."""


class Credential:
    """One token, and the name of the client that it belongs to."""

    __slots__ = ("name", "token")

    def __init__(self, name: str, token: bytes) -> None:
        self.name = name
        self.token = token

    def __repr__(self) -> str:
        return f"Credential({self.name!r})"


class Credentials:
    """The tokens of each client by its name. Tokens appear in no log and in no ``repr``."""

    def __init__(self, tokens: Mapping[str, Iterable[str]]) -> None:
        self._all = [Credential(name, token.encode()) for name, each in tokens.items() for token in each]
        self.sizes = frozenset(len(credential.token) for credential in self._all)
        """The lengths of the tokens in bytes: data of another length is no token."""

    def __repr__(self) -> str:
        return f"Credentials({len(self._all)})"

    @property
    def tokens(self) -> tuple[bytes, ...]:
        """All tokens, for code that must keep them from others."""
        return tuple(credential.token for credential in self._all)

    def find(self, presented: bytes | memoryview) -> Credential | None:
        """Return the credential with this token, or None; the time depends on the number of tokens only."""
        found = [credential for credential in self._all if hmac.compare_digest(presented, credential.token)]
        return found[0] if found else None


class OwnTokens:
    """The tokens of a client, which tries the next one when the server refuses one."""

    def __init__(self, tokens: Iterable[str]) -> None:
        self._tokens = [token.encode() for token in tokens]
        self._index = 0

    def __repr__(self) -> str:
        return f"OwnTokens({len(self._tokens)})"

    @property
    def current(self) -> bytes:
        """The token to show."""
        return self._tokens[self._index]

    def refused(self) -> None:
        """Choose the next token, because the server ended the handshake; the reason may be another one."""
        count = len(self._tokens)
        if count > 1:
            before, self._index = self._index + 1, (self._index + 1) % count
            log.info("token %d of %d may be refused; the next attempt shows token %d", before, count, self._index + 1)

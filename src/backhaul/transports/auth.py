"""The tokens of clients, and the constant-time search for one that was presented."""

import hmac
from collections.abc import Mapping
from typing import Final

UNNAMED: Final = ""
"""The name of the client whose token is in ``[server]`` itself."""


class Credentials:
    """The token of each client by its name. Tokens appear in no log and in no ``repr``."""

    def __init__(self, tokens: Mapping[str, str]) -> None:
        self._tokens = {name: token.encode() for name, token in tokens.items()}

    def __repr__(self) -> str:
        return f"Credentials of {len(self._tokens)}"

    @property
    def longest(self) -> int:
        """The bytes of the longest token."""
        return max(map(len, self._tokens.values()))

    @property
    def tokens(self) -> tuple[bytes, ...]:
        """All tokens, for code that must keep them from others."""
        return tuple(self._tokens.values())

    def find(self, presented: bytes | memoryview) -> str | None:
        """Return the name of the client with this token, or None; the time depends on the number of tokens only."""
        found = [name for name, token in self._tokens.items() if hmac.compare_digest(presented, token)]
        return found[0] if found else None

    def token(self, name: str) -> bytes:
        """Return the token of a client that exists."""
        return self._tokens[name]

"""The tokens of clients on the server, and those of the client itself."""

import hashlib
import logging
import secrets
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final, Protocol

log = logging.getLogger("backhaul.client")

UNNAMED: Final = ""
"""The name of the client whose tokens are in ``[server]`` itself."""


class Security(Enum):
    """The protection that an end requires; the values are those of the configuration."""

    AUTO = "auto"
    """Protected with peers that can; otherwise v0.7.2's way, in which the token crosses the line in clear."""
    REQUIRED = "required"
    LEGACY = "legacy"
    """Exactly as v0.7.2."""


@dataclass(frozen=True, slots=True)
class Protection:
    """The protection that an end requires of its peers."""

    security: Security = Security.AUTO
    encryption: bool = False
    """True if users' bytes must be sealed."""

    @property
    def seals(self) -> bool:
        """True if protected peers are served."""
        return self.security is not Security.LEGACY

    @property
    def required(self) -> bool:
        """True if only protected peers are served, and TLS must reach them."""
        return self.security is Security.REQUIRED

    @property
    def allows_v072(self) -> bool:
        """True if a peer of v0.7.2 may be served, which can't be if users' bytes must be sealed."""
        return not self.seals or not (self.required or self.encryption)


PROTECTED_IF_POSSIBLE: Final = Protection()
"""The default of both ends."""


class Credential:
    """One token, and the name of the client that it belongs to."""

    __slots__ = ("name", "token")

    def __init__(self, name: str, token: bytes) -> None:
        self.name = name
        self.token = token

    def __repr__(self) -> str:
        return f"Credential({self.name!r})"


class Credentials:
    """The tokens of each client by its name, which may change. Tokens appear in no log and in no ``repr``."""

    def __init__(self, tokens: Mapping[str, Iterable[str]]) -> None:
        self._secret = secrets.token_bytes(16)  # so that the time of a look-up reveals nothing
        self.version = 0
        """A number that each change raises."""
        self.change(tokens)

    def change(self, tokens: Mapping[str, Iterable[str]]) -> None:
        """Accept these tokens from now on; sessions stay."""
        self._all = [Credential(name, token.encode()) for name, each in tokens.items() for token in each]
        self._by_digest = {self._digest(credential.token): credential for credential in reversed(self._all)}
        self.version += 1
        self.several = len({credential.name for credential in self._all}) > 1
        """True if there is more than one client."""
        self.sizes = frozenset(len(credential.token) for credential in self._all)
        """The lengths of the tokens in bytes: data of another length is not a token."""
        self.longest = max(self.sizes, default=0)
        """The length of the longest token."""

    def __len__(self) -> int:
        return len(self._all)

    def __repr__(self) -> str:
        return f"Credentials({len(self._all)})"

    def __iter__(self) -> Iterator[Credential]:
        return iter(self._all)

    @property
    def tokens(self) -> tuple[bytes, ...]:
        """All tokens, for code that must keep them from others."""
        return tuple(credential.token for credential in self._all)

    def find(self, presented: bytes | memoryview) -> Credential | None:
        """Return the credential with this token, or None; the time depends on the length of ``presented`` only."""
        return self._by_digest.get(self._digest(presented))

    def _digest(self, token: bytes | memoryview) -> bytes:
        return hashlib.blake2b(token, digest_size=16, key=self._secret).digest()

    def accepts(self, credential: Credential) -> bool:
        """Return whether a credential found earlier is still one of these."""
        found = self.find(credential.token)
        return found is not None and found.name == credential.name


class KnownServers(Protocol):
    """The memory of servers that were protected once, by their address as configured."""

    @property
    def file(self) -> object:
        """The file with the memory, for a log line."""

    def protected(self, address: str) -> bool:
        """Return whether this server was protected before."""

    def remember(self, address: str) -> bool:
        """Note that this server is protected; return whether ``file`` holds it now."""


class ForgetfulMemory:
    """A memory that lasts as long as the process."""

    file = "(memory)"

    def __init__(self) -> None:
        self._addresses: set[str] = set()

    def protected(self, address: str) -> bool:
        """Return whether this server was protected before."""
        return address in self._addresses

    def remember(self, address: str) -> bool:
        """Note that this server is protected; return True."""
        self._addresses.add(address)
        return True


class OwnTokens:
    """The tokens of a client, which tries the next one when the server refuses one."""

    def __init__(self, tokens: Iterable[str]) -> None:
        self._tokens = [token.encode() for token in tokens]
        self._index = 0

    def __repr__(self) -> str:
        return f"OwnTokens({len(self._tokens)})"

    def __len__(self) -> int:
        return len(self._tokens)

    @property
    def current(self) -> bytes:
        """The token to send."""
        return self._tokens[self._index]

    def refused(self) -> None:
        """Choose the next token, because the server ended the handshake; the reason may be another one."""
        count = len(self._tokens)
        if count > 1:
            before, self._index = self._index + 1, (self._index + 1) % count
            log.info("token %d of %d may be refused; the next attempt shows token %d", before, count, self._index + 1)

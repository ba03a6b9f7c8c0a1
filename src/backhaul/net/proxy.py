"""A proxy through which the client dials, as the configuration describes it."""

from dataclasses import dataclass, field
from typing import Literal

from backhaul.addresses import address_text

ProxyKind = Literal["http", "https", "socks5", "socks5h"]


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy. Of ``socks5`` the client looks up the server's name, of the other kinds the proxy does."""

    kind: ProxyKind
    host: str
    port: int
    user: str = field(default="", repr=False)
    password: str = field(default="", repr=False)

    def __str__(self) -> str:
        return f"{self.kind}://{address_text(self.host, self.port)}"

"""The task of one tunnel, whichever program does it."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from bench.loads.route import Ports
from bench.processes import LOOPBACK

TOKEN = "bench"  # noqa: S105


class Secrets(NamedTuple):
    """Keys and certificates for encrypted transports; all programs share them."""

    certificate: Path  # PEM, self-signed for localhost
    key: Path  # PEM
    pkcs12: Path  # certificate and key, encrypted with PKCS12_PASSWORD
    noise_private: str  # X25519, Base64
    noise_public: str


PKCS12_PASSWORD = "bench"  # noqa: S105
DEFAULT_POOL = 8


class Wiring(NamedTuple):
    """The ports of one tunnel, on 127.0.0.1 but for the tunnel's own."""

    bind: int  # the port on which the tunnel's server listens for its client
    ports: Ports  # the port of each service for users
    targets: Ports  # the port of each service itself
    protocol: str  # the protocol of the users: "tcp" or "udp"
    secrets: Secrets
    pool: int = DEFAULT_POOL  # connections or sessions that this program's client opens ahead of users
    listen: str = LOOPBACK  # the address of the tunnel's server
    host: str = LOOPBACK  # the address that its client dials


class Files(NamedTuple):
    """The texts of both configuration files."""

    server: str
    client: str


Writer = Callable[[Wiring], Files]

Modes = Mapping[str, Writer]  # label -> writer; the label of the nearest mode is empty

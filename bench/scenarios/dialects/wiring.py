"""What one tunnel has to do, whichever program does it."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from bench.loads.route import Ports

TOKEN = "bench"  # noqa: S105


class Secrets(NamedTuple):
    """What encrypted transports need; one set serves all programs."""

    certificate: Path  # PEM, self-signed for localhost
    key: Path  # PEM
    pkcs12: Path  # both, under PKCS12_PASSWORD
    noise_private: str  # X25519, Base64
    noise_public: str


PKCS12_PASSWORD = "bench"  # noqa: S105


class Wiring(NamedTuple):
    """The ports of one tunnel on 127.0.0.1."""

    bind: int  # where the tunnel's server waits for its client
    ports: Ports  # where users reach each service
    targets: Ports  # where each service is
    protocol: str  # what users speak: "tcp" or "udp"
    secrets: Secrets


class Files(NamedTuple):
    """The texts of the two configuration files."""

    server: str
    client: str


Writer = Callable[[Wiring], Files]

Modes = Mapping[str, Writer]  # label -> writer; the label of the nearest mode is empty

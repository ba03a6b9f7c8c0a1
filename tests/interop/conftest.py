"""Fixtures of the interop tests: the Go peer and tunnels with it."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.support.datagrams import UdpNet
from tests.support.go_peer import STREAMS, Case, Mixed, cases
from tests.support.go_program import build
from tests.support.net import HOST
from tests.support.tunnel import LINES, Lines

from backhaul.system.certificate import make


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark every test of this folder."""
    item.add_marker(pytest.mark.interop)


@pytest.fixture(scope="session")
def peer_binary() -> Path:
    """Build the peer."""
    return build("peer")


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return the files of a certificate made by the command ``cert``, and of its key."""
    pair = make([HOST], 2, datetime.now(UTC))
    folder = tmp_path_factory.mktemp("certificate")
    files = folder / "server.crt", folder / "server.key"
    files[0].write_bytes(pair.certificate)
    files[1].write_bytes(pair.key)
    return files


@pytest.fixture(params=cases(STREAMS), ids=str)
def case(request: pytest.FixtureRequest) -> Case:
    """Choose every transport for TCP users, each end, and both versions of smux."""
    chosen: Case = request.param
    return chosen


@pytest.fixture
async def mixed(
    case: Case, peer_binary: Path, certificate: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Mixed]:
    """Provide a tunnel to be started; at the end nothing may remain, and the peer's log must be sound."""
    cert, key = certificate
    tls = f'tls_cert = "{cert}"\ntls_key = "{key}"' if case.transport.startswith("wss") else ""
    monkeypatch.setitem(LINES, case.transport, Lines(server=tls))
    async with UdpNet(case.transport) as net:
        mixed = Mixed(net, case, peer_binary, tmp_path, certificate)
        try:
            yield mixed
            mixed.peer.check()
        finally:
            mixed.peer.kill()

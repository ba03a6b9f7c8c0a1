"""Several servers behind a name, as on Kubernetes or with plain DNS."""

import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest
from tests.support.apart import run_apart, separable

pytestmark = [
    pytest.mark.interop,
    pytest.mark.slow,
    pytest.mark.timeout(180),
    pytest.mark.skipif(not separable(), reason="needs root and Linux's namespaces for a name server"),
    pytest.mark.skipif(not shutil.which("dnsmasq"), reason="dnsmasq is missing (Debian package dnsmasq-base)"),
]


@pytest.fixture
def mounts(tmp_path: Path) -> list[str]:
    """Return the commands that make 127.0.0.1 the only name server."""
    (tmp_path / "resolv.conf").write_text("nameserver 127.0.0.1\n")
    (tmp_path / "hosts").write_text("127.0.0.1 localhost\n")
    return [f"mount --bind {tmp_path}/{name} /etc/{name}" for name in ("resolv.conf", "hosts")]


@pytest.mark.skipif(not find_spec("dns"), reason="SRV records require dnspython")
def test_servers_come_and_go_with_their_records(mounts: list[str]) -> None:
    said, complaints = run_apart("listed_servers", *mounts)
    assert said == "connected\njoined\nleft 1\n", complaints


def test_a_server_lost_costs_its_users_only_and_one_that_drains_none(tmp_path: Path, mounts: list[str]) -> None:
    """Three clients are connected to four servers. One is killed, one is added, and one is drained, all with users."""
    said, complaints = run_apart(f"many_servers {tmp_path}/servers", *mounts)
    assert said.splitlines() == [
        "ready True True True True",
        "killed, lost 0 6 0 0",
        "added, ready True",
        "drained, ready False",
        "drained with 0",
        "stopped with 0",
        "lost 0 6 0 0 0",
    ], complaints

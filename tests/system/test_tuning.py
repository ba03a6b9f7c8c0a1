import logging
from pathlib import Path

import pytest

from backhaul.system import tuning

# The defaults of a Debian 12 kernel.
DEFAULTS = {
    "net/ipv4/ip_local_port_range": "32768\t60999",
    "net/ipv4/tcp_tw_reuse": "2",
    "net/core/somaxconn": "4096",
    "net/ipv4/tcp_max_syn_backlog": "512",
    "net/ipv4/tcp_window_scaling": "1",
    "net/ipv4/tcp_fastopen": "1",
    "net/ipv4/tcp_mtu_probing": "0",
    "net/ipv4/tcp_rmem": "4096\t131072\t6291456",
    "net/ipv4/tcp_wmem": "4096\t16384\t4194304",
    "net/core/rmem_default": "212992",
    "net/core/wmem_default": "212992",
    "net/core/rmem_max": "212992",
    "net/core/wmem_max": "212992",
    "fs/file-max": "9223372036854775807",
    "net/ipv4/tcp_congestion_control": "cubic",
    "net/ipv4/tcp_available_congestion_control": "reno cubic",
}


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    for name, value in DEFAULTS.items():
        put(tmp_path, name, value)
    return tmp_path


def put(proc: Path, name: str, value: str) -> None:
    path = proc / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(value + "\n")


def get(proc: Path, name: str) -> str:
    return (proc / name).read_text().strip()


def test_a_stock_kernel_is_tuned(proc: Path) -> None:
    changed = tuning.tune(proc)
    assert get(proc, "net/ipv4/ip_local_port_range") == "1024 65535"
    assert get(proc, "net/ipv4/tcp_tw_reuse") == "1"
    assert get(proc, "net/ipv4/tcp_max_syn_backlog") == "8192"
    assert get(proc, "net/ipv4/tcp_fastopen") == "3"
    assert get(proc, "net/ipv4/tcp_mtu_probing") == "1"
    assert get(proc, "net/ipv4/tcp_rmem") == "16384 262144 16777216"
    assert get(proc, "net/core/rmem_max") == "67108864"
    assert "net.ipv4.tcp_rmem" in changed


def test_settings_that_are_fine_are_not_written(proc: Path) -> None:
    changed = tuning.tune(proc)
    assert not {"fs.file-max", "net.core.somaxconn", "net.ipv4.tcp_window_scaling"} & set(changed)
    assert get(proc, "fs/file-max") == DEFAULTS["fs/file-max"]
    assert tuning.tune(proc) == []


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("net/core/somaxconn", "65535", "65535"),
        ("net/core/rmem_max", "134217728", "134217728"),
        ("net/ipv4/tcp_rmem", "4096 1048576 134217728", "16384 1048576 134217728"),
        ("net/ipv4/tcp_wmem", "65536 16384 4194304", "65536 262144 16777216"),
        ("net/ipv4/ip_local_port_range", "1000 60999", "1000 65535"),
        ("net/ipv4/tcp_fastopen", "1028", "1031"),  # other bits stay
    ],
)
def test_no_field_is_ever_lowered(proc: Path, name: str, before: str, after: str) -> None:
    put(proc, name, before)
    tuning.tune(proc)
    assert get(proc, name) == after


@pytest.mark.parametrize(
    ("available", "before", "after"),
    [
        ("reno cubic bbr", "cubic", "bbr"),
        ("reno bbr", "reno", "bbr"),
        ("reno cubic", "cubic", "cubic"),
        ("reno cubic bbr dctcp", "dctcp", "dctcp"),
    ],
)
def test_bbr_replaces_only_a_kernel_default(proc: Path, available: str, before: str, after: str) -> None:
    put(proc, "net/ipv4/tcp_available_congestion_control", available)
    put(proc, "net/ipv4/tcp_congestion_control", before)
    changed = tuning.tune(proc)
    assert get(proc, "net/ipv4/tcp_congestion_control") == after
    assert ("net.ipv4.tcp_congestion_control" in changed) is (before != after)


def test_a_setting_that_cannot_be_written_is_a_debug_line(proc: Path, caplog: pytest.LogCaptureFixture) -> None:
    (proc / "net/core/somaxconn").unlink()
    (proc / "net/ipv4/tcp_available_congestion_control").unlink()
    put(proc, "net/ipv4/tcp_rmem", "4096")
    put(proc, "net/core/wmem_max", "many")
    with caplog.at_level(logging.DEBUG, "backhaul"):
        changed = tuning.tune(proc)
    info = [record.getMessage() for record in caplog.records if record.levelno == logging.INFO]
    assert info == [f"kernel tuning: {len(changed)} changed, 2 already fine, 4 not possible here"]
    assert max(record.levelno for record in caplog.records) == logging.INFO
    for name in ("somaxconn", "tcp_congestion_control", "tcp_rmem", "wmem_max"):
        assert any(name in record.getMessage() for record in caplog.records)
    assert get(proc, "net/ipv4/tcp_rmem") == "4096"


def test_a_missing_tree_is_no_failure(tmp_path: Path) -> None:
    assert tuning.tune(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_the_names_are_spelled_as_this_kernel_spells_them() -> None:
    # Every network namespace shows these settings, except those of net/core.
    shown = [name for name in tuning.names() if not name.startswith("net.core.")]
    assert [name for name in shown if not (tuning.PROC / name.replace(".", "/")).exists()] == []


def test_every_setting_is_documented() -> None:
    document = Path(__file__).parents[2] / "docs" / "configuration.md"
    table = document.read_text(encoding="utf-8").partition("## Kernel settings")[2]
    assert [row.split("`")[1] for row in table.splitlines() if row.startswith("| `")] == tuning.names()

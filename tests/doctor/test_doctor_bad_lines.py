"""The doctor on lines that drop packets silently, with the kernel's own TCP."""

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.apart import Namespace, separable
from tests.support.net import until
from tests.support.program import Program

pytestmark = pytest.mark.skipif(not separable(), reason="only root may have networks apart")

SERVER = '[server]\nbind_addr = "10.9.0.1:3080"\ntransport = "tcp"\ntoken = "a token of this test"\nskip_optz = true\n'
CLIENT = '[client]\nremote_addr = "10.9.0.1:3080"\ntransport = "tcp"\ntoken = "a token of this test"\n'


@pytest.fixture
def ends() -> Iterator[tuple[Namespace, Namespace]]:
    """Two networks."""
    here, there = Namespace(), Namespace()
    yield here, there
    here.close()
    there.close()


async def join(here: Namespace, there: Namespace) -> None:
    """Join them by a line."""
    await until(lambda: here.ready and there.ready)
    here.run(f"ip link add line type veth peer name line netns {there.pid}")
    for end, address in ((here, "10.9.0.2/24"), (there, "10.9.0.1/24")):
        end.run(f"ip address add {address} dev line")
        end.run("ip link set line up gso_max_segs 1")


async def findings_between(here: Namespace, there: Namespace, tmp_path: Path) -> dict[str, dict[str, Any]]:
    """Return the findings of a client about its server at the other end of the line, by their subjects."""
    for name, text in {"server.toml": SERVER, "client.toml": CLIENT}.items():
        (tmp_path / name).touch(0o600)
        (tmp_path / name).write_text(text)
    server = await Program.start("-c", tmp_path / "server.toml", wrapper=("nsenter", f"--net={there.path}"))
    try:
        await server.line("server listens on 10.9.0.1:3080")
        doctor = [sys.executable, "-m", "backhaul", "doctor", "--json", "-c", str(tmp_path / "client.toml")]
        command = ["nsenter", f"--net={here.path}", *doctor]
        run = await asyncio.to_thread(subprocess.run, command, capture_output=True, check=False)
    finally:
        await server.kill()
    return {finding["subject"]: finding for finding in json.loads(run.stdout)["findings"]}


async def test_the_largest_packets_are_found(ends: tuple[Namespace, Namespace], tmp_path: Path) -> None:
    await join(*ends)
    there = ends[1]
    there.run("ip link set line mtu 1400")  # drops longer packets
    there.run("ip route change 10.9.0.0/24 dev line advmss 1460")  # and promises to take them
    findings = await findings_between(*ends, tmp_path)
    assert findings["handshake"]["verdict"] == "ok"
    assert findings["packets"]["verdict"] == "fault"
    assert findings["packets"]["remedy"].startswith("set mss = 1360 on both ends")


async def test_the_loss_of_small_packets_is_measured(ends: tuple[Namespace, Namespace], tmp_path: Path) -> None:
    await join(*ends)
    for line in (
        "add table inet lossy",
        "add chain inet lossy arriving { type filter hook input priority 0; }",
        "add rule inet lossy arriving tcp flags & syn == 0 numgen inc mod 25 0 drop",
    ):
        ends[1].run(f"nft {line}")
    findings = await findings_between(*ends, tmp_path)
    assert findings["packets"]["verdict"] == "ok"
    assert findings["line"]["verdict"] == "warning"
    ((resent, sent),) = re.findall(r"(\d+) of (\d+) packets sent again", findings["line"]["text"])
    assert 0.02 < int(resent) / int(sent) < 0.08

"""A kernel with netem, for machines without: User-mode Linux, which is Debian's kernel as a program."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

BOOT = Path(__file__).with_name("netem_kernel.sh")
MODULES = Path("/usr/lib/uml/modules")
BAD = "unshare --net tc qdisc add dev lo root netem loss 3%"
PATIENCE = 240  # seconds; it takes 20 on a quiet machine


def command(uml: str, files: Path) -> list[str]:
    """Return the command that starts User-mode Linux on the files of this machine, which it can't change."""
    modules = max(MODULES.iterdir())
    machine = ["mem=512M", "quiet", "con=null", "con0=null,fd:1", f"uml_dir={files}", f"TMPDIR={files}"]
    root = ["root=/dev/root", "rootfstype=hostfs", "hostfs=/", "ro"]
    return [uml, *machine, *root, f"init={BOOT}", f"PYTHON={sys.executable}", f"MODULES={modules}"]


def run(argv: list[str]) -> str:
    """Return the output of the kernel and its processes until it halts."""
    pipe = subprocess.PIPE
    with subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=pipe, stderr=subprocess.STDOUT, start_new_session=True
    ) as process:
        try:
            return process.communicate(timeout=PATIENCE)[0].decode(errors="replace")
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.timeout(PATIENCE + 30)
def test_a_network_that_loses_repeats_and_reorders_by_netem(tmp_path: Path) -> None:
    uml = shutil.which("linux.uml")
    if not uml or os.geteuid():
        pytest.skip("User-mode Linux is not installed, or we are not root")
    if not subprocess.run(BAD.split(), capture_output=True, check=False).returncode:
        pytest.skip("this kernel has netem, test_udp_tools uses it")
    output = run(command(uml, tmp_path))
    if "the kernel is up" not in output:
        pytest.skip(f"User-mode Linux does not run here: {output[-200:]}")
    assert "tests ended: 0" in output, output
    assert re.search(r"= 1 passed, \d+ deselected", output), output

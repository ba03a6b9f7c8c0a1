"""Trial of the program with Python inside: ``python -m release.probe PROGRAM``.

It must work without any environment and, which only root can try, where only glibc is installed.
"""

import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from .machines import machine

GLIBC: Final = (
    *(machine().loader, "libc.so.6", "libm.so.6"),
    *("libdl.so.2", "libpthread.so.0", "librt.so.1", "libutil.so.1"),  # empty since glibc 2.34, but named by libraries
)
"""The libraries that the program needs from the system."""
_PLACES: Final = ("/lib", "/lib64", f"/lib/{platform.machine()}-linux-gnu", "/usr/lib64")
_PATIENCE: Final = 60.0
_CONFIG: Final = '[server]\nbind_addr = "127.0.0.1:3080"\ntransport = "tcp"\ntoken = "a trial"\nports = ["8000"]\n'


def furnish(root: Path, program: Path) -> None:
    """Make a root directory that holds glibc, the program, a configuration and /tmp."""
    for place in filter(os.path.isdir, _PLACES):
        for path in filter(Path.exists, (Path(place, name) for name in GLIBC)):
            copy = root / path.relative_to("/")
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, copy)
    (root / "tmp").mkdir()
    (root / "server.toml").write_text(_CONFIG)
    shutil.copy(program, root / "backhaul")


def trial(command: list[str], folder: Path) -> None:
    """Show the version, check a configuration, and send bytes through a tunnel; raise CalledProcessError."""
    for arguments in (["--version"], ["check", "server.toml"], ["demo", "--once"]):
        subprocess.run([*command, *arguments], cwd=folder, env={"PATH": ""}, timeout=_PATIENCE, check=True)


def main(program: Path) -> None:
    """Run the trials that this user may run."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        furnish(root, program)
        trial([str(root / "backhaul")], root)
        if os.geteuid() == 0:
            chroot = shutil.which("chroot") or "/usr/sbin/chroot"
            trial([chroot, folder, "/backhaul"], root)
            print("it works without an environment, and with glibc alone")
        else:
            print("it works without an environment; not tried with glibc alone, which requires root")


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute())

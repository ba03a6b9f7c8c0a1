"""The machines for which files with compiled parts are made; each file is made on a machine of its kind."""

import platform
from typing import Final, NamedTuple


class Machine(NamedTuple):
    """The names that a kind of machine has."""

    debian: str
    """The architecture of Debian's packages."""
    loader: str
    """The dynamic loader of glibc."""


MACHINES: Final = {
    "x86_64": Machine("amd64", "ld-linux-x86-64.so.2"),
    "aarch64": Machine("arm64", "ld-linux-aarch64.so.1"),
}
"""By the name that ``uname -m`` prints."""


def machine(name: str = platform.machine()) -> Machine:
    """Return the kind of a machine, by default of this one; raise SystemExit if none is known."""
    if name not in MACHINES:
        raise SystemExit(f"no package for {name}: only for {', '.join(MACHINES)}; `pip install .` works everywhere")
    return MACHINES[name]

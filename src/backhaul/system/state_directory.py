"""The directory for files that must survive a restart."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

SYSTEM: Final = Path("/var/lib/backhaul")


def state_directory(environment: Mapping[str, str] = os.environ) -> Path:
    """Return the directory, which may not exist yet.

    It is StateDirectory= under a service manager, otherwise that of the system for root, or of the user
    (XDG Base Directory Specification). A user without a home gets that of the system, and errors that name it.
    """
    managed = environment.get("STATE_DIRECTORY", "").partition(":")[0]
    if managed.startswith("/"):
        return Path(managed)
    if os.geteuid() == 0:
        return SYSTEM
    own = environment.get("XDG_STATE_HOME", "")
    if own.startswith("/"):
        return Path(own, "backhaul")
    try:
        return Path.home() / ".local/state/backhaul"
    except RuntimeError:  # no HOME, and no entry in the list of users, as in some containers
        return SYSTEM

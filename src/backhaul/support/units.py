"""The unit of systemd that runs a process."""

from pathlib import Path
from typing import Final, NamedTuple

from .commands import output_of

SYSTEMCTL: Final = "systemctl"
_SUFFIX: Final = ".service"
_MANAGER: Final = "user@"
# No property that may hold a secret: Environment= and ExecStart= are the administrator's own texts.
_PROPERTIES: Final = (
    *("Id", "ActiveState", "SubState", "Result", "NRestarts", "ExecMainStatus", "ExecMainCode", "MainPID"),
    *("ExecMainStartTimestamp", "ExecMainExitTimestamp", "FragmentPath", "DropInPaths", "UnitFileState", "User"),
    *("Type", "Restart", "WatchdogUSec", "TimeoutStopUSec", "LimitNOFILE", "LimitAS", "MemoryMax", "MemoryHigh"),
    *("MemoryCurrent", "TasksMax", "CPUQuotaPerSecUSec", "FileDescriptorStoreMax", "AmbientCapabilities"),
    *("NoNewPrivileges", "ProtectSystem", "ReadWritePaths", "RestrictAddressFamilies"),
)


class Unit(NamedTuple):
    """A unit, or a pattern for several."""

    name: str
    of_user: bool = False
    """True if a user's manager runs it."""

    @property
    def choice(self) -> tuple[str, str]:
        """The argument of journalctl that chooses it."""
        return "--user-unit" if self.of_user else "--unit", self.name


def unit_of(pid: int, proc: Path) -> Unit | None:
    """Return the unit of a process, or None if it runs in none."""
    try:
        groups = (proc / str(pid) / "cgroup").read_text().splitlines()
    except OSError:
        return None
    for group in groups:
        steps = group.split("/")
        if steps[-1].endswith(_SUFFIX) and not steps[-1].startswith(_MANAGER):
            return Unit(steps[-1], any(step.startswith(_MANAGER) for step in steps))
    return None


def properties(unit: Unit, systemctl: str = SYSTEMCTL) -> str:
    """Return state and limits of a unit as systemd reports them; raise BackhaulError with the reason otherwise."""
    manager = ("--user",) if unit.of_user else ()
    return output_of([systemctl, *manager, "show", f"--property={','.join(_PROPERTIES)}", unit.name])

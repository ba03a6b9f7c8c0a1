"""Installation and removal of systemd units, and checks of the rights of a service's user."""

import os
import pwd
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from backhaul.errors import BackhaulError, reason

from .unit import MARK, Unit

# Messages reach the administrator untranslated, and the caller's PYTHON* variables do not reach the program.
_ENVIRONMENT: Final = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}


@dataclass(frozen=True, slots=True)
class Systemd:
    """The service manager of this machine; every method raises BackhaulError with reason and remedy."""

    units: Path = Path("/etc/systemd/system")
    booted: Path = Path("/run/systemd/system")  # exists if systemd manages the machine: sd_booted(3)
    systemctl: str = "systemctl"
    settings: Path = Path("/etc/backhaul")  # the place for configurations of services
    temporary: tuple[Path, ...] = (Path("/tmp"), Path("/var/tmp"))  # noqa: S108 - a service has its own ones

    def require(self) -> None:
        """Check that this process may change units."""
        self._require_systemd()
        if os.geteuid() != 0:
            raise BackhaulError("changing services requires root; use sudo")

    def install(self, unit: Unit) -> None:
        """Write the unit, enable it and (re)start it; return when the program reports that it is ready."""
        path = self._own(unit.name)
        draft = path.with_suffix(".service.draft")
        draft.write_text(unit.text(), encoding="utf-8")
        draft.replace(path)
        self._call("daemon-reload")
        self._call("enable", path.name)
        self._call("restart", path.name, remedy=f"`journalctl -u {unit.name}` shows why")

    def uninstall(self, name: str) -> None:
        """Stop and disable the service and remove its unit; the user and the state directory stay."""
        path = self._own(name)
        if not path.exists():
            raise BackhaulError(f"{path} does not exist; choose another service with --name")
        self._call("disable", "--now", path.name)
        path.unlink()
        self._call("daemon-reload")

    def status(self, name: str) -> int:
        """Let systemctl print the service's state; return its exit code (0: active)."""
        self._require_systemd()
        return _execute([self.systemctl, "--no-pager", "--full", "status", f"{name}.service"]).returncode

    def _require_systemd(self) -> None:
        if not self.booted.is_dir():
            raise BackhaulError("systemd does not run this machine; `backhaul service install --print` shows the unit")

    def _own(self, name: str) -> Path:
        """Return the unit's path; raise BackhaulError if the unit there was not written by this program."""
        path = self.units / f"{name}.service"
        if path.exists() and not path.read_text(errors="replace").startswith(MARK):
            raise BackhaulError(f"{path} was not written by this command; move it away or choose another --name")
        return path

    def _call(self, *arguments: str, remedy: str = "") -> None:
        _change([self.systemctl, *arguments], remedy)


def make_user(name: str, root: Path = Path("/")) -> None:
    """Add a system user and group of this name unless they exist; raise BackhaulError if that fails."""
    _change(["systemd-sysusers", f"--root={root}", "-"], "add the user by hand", f'u {name} - "Backhaul tunnel"\n')


def objection(user: str, command: Sequence[str]) -> str:
    """Run a command as the user of a service, without capabilities, and return its error output, or "".

    Requires root. Raises BackhaulError if the user does not exist.
    """
    try:
        group = pwd.getpwnam(user).pw_gid
    except KeyError:
        raise BackhaulError(f'user "{user}" does not exist; add it, or choose another with --user') from None
    rights = ["--bounding-set=-all", "--inh-caps=-all"]
    run = _execute(
        ["setpriv", f"--reuid={user}", f"--regid={group}", "--init-groups", *rights, "--", *command], capture=True
    )
    if run.returncode == 0:
        return ""
    return run.stderr.strip() or f"{command[0]} ended with status {run.returncode}"


def _change(command: Sequence[str], remedy: str, stdin: str = "") -> None:
    run = _execute(command, stdin, capture=True)
    if run.returncode != 0:
        words = [f"`{' '.join(command)}` failed", *run.stderr.strip().splitlines()[:1], remedy]
        raise BackhaulError("; ".join(filter(None, words)))


def _execute(command: Sequence[str], stdin: str = "", *, capture: bool = False) -> subprocess.CompletedProcess[str]:
    """Run a program of the system with a minimal environment, in the root directory, which every user can read."""
    try:
        return subprocess.run(  # noqa: S603 - no shell, and names that the command line has checked
            command, input=stdin, capture_output=capture, text=True, check=False, cwd="/", env=_ENVIRONMENT
        )
    except OSError as error:
        raise BackhaulError(f"cannot run {command[0]}: {reason(error)}") from None

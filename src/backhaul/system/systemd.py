"""The service manager: units put in place and taken away, and what a service's user may do."""

import os
import pwd
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from backhaul.errors import BackhaulError

from .unit import MARK, Unit

# Messages are passed on to the administrator as they are; env of the caller may lead Python elsewhere.
_ENVIRONMENT: Final = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}


@dataclass(frozen=True, slots=True)
class Systemd:
    """The manager of this machine; every method raises BackhaulError with the reason and the remedy."""

    units: Path = Path("/etc/systemd/system")
    booted: Path = Path("/run/systemd/system")  # there if it is the machine's manager: sd_booted(3)
    systemctl: str = "systemctl"

    def require(self) -> None:
        """Make sure that units can be changed here."""
        self._require_systemd()
        if os.geteuid() != 0:
            raise BackhaulError("changing services takes root: try it with sudo")

    def install(self, unit: Unit) -> None:
        """Put the unit in place, enable it and (re)start it; return when the program says that it is ready."""
        path = self._own(unit.name)
        draft = path.with_suffix(".service.draft")
        draft.write_text(unit.text(), encoding="utf-8")
        draft.replace(path)
        self._call("daemon-reload")
        self._call("enable", path.name)
        self._call("restart", path.name, remedy=f"`journalctl -u {unit.name}` says why")

    def uninstall(self, name: str) -> None:
        """Stop and disable the service and remove its unit; the user and the state directory stay."""
        path = self._own(name)
        if not path.exists():
            raise BackhaulError(f"there is no {path}; `--name` chooses another service")
        self._call("disable", "--now", path.name)
        path.unlink()
        self._call("daemon-reload")

    def status(self, name: str) -> int:
        """Let systemctl print the service's state; return its exit code (0: active)."""
        self._require_systemd()
        return _execute([self.systemctl, "--no-pager", "--full", "status", f"{name}.service"]).returncode

    def _require_systemd(self) -> None:
        if not self.booted.is_dir():
            raise BackhaulError("this machine is not run by systemd; `backhaul service install --print` shows the unit")

    def _own(self, name: str) -> Path:
        """Return the unit's path, unless the unit there is somebody else's."""
        path = self.units / f"{name}.service"
        if path.exists() and not path.read_text(errors="replace").startswith(MARK):
            raise BackhaulError(f"{path} was not written by this command; move it away or choose another --name")
        return path

    def _call(self, *arguments: str, remedy: str = "") -> None:
        _change([self.systemctl, *arguments], remedy)


def make_user(name: str, root: Path = Path("/")) -> None:
    """Add a system user and group of this name, where there are none; raises BackhaulError."""
    _change(["systemd-sysusers", f"--root={root}", "-"], "add the user by hand", f'u {name} - "Backhaul tunnel"\n')


def objection(user: str, command: Sequence[str]) -> str:
    """Run a command as the user of a service, without capabilities, and return what it complains about, or "".

    Needs root. Raises BackhaulError if there is no such user.
    """
    try:
        group = pwd.getpwnam(user).pw_gid
    except KeyError:
        raise BackhaulError(f'there is no user "{user}"') from None
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
    """Run a program of the system in a plain environment, outside of any private directory."""
    try:
        return subprocess.run(  # noqa: S603 - no shell, and names that the command line has checked
            command, input=stdin, capture_output=capture, text=True, check=False, cwd="/", env=_ENVIRONMENT
        )
    except OSError as error:
        raise BackhaulError(f"can't run {command[0]}: {(error.strerror or str(error)).lower()}") from None

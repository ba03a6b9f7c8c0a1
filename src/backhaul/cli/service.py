"""`backhaul service`: the end that a configuration describes, as a systemd service of this machine."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from backhaul.config import ConfigError, ServerConfig, load
from backhaul.config.schema import Config
from backhaul.errors import BackhaulError
from backhaul.system.systemd import Systemd, make_user, objection
from backhaul.system.unit import Unit

USER: Final = "backhaul"

_STATE: Final = Path("/var/lib")
_HOMES: Final = (Path("/home"), Path("/root"), Path("/run/user"))
_TEMPORARY: Final = (Path("/tmp"), Path("/var/tmp"))  # noqa: S108 - where nothing may be
_PRIVILEGED_PORTS: Final = 1024
_CLOSING: Final = 15  # seconds after shutdown_timeout in which the program has to end

_INSTALLED: Final = """\
{unit} is installed, enabled and running as user {user}
  backhaul status -c {file}
  journalctl -fu {name}
show what it does, and its log; `systemctl edit {name}` is for own settings"""

_OBJECTION: Final = """\
the service's user "{user}" can't run {file}:
  {objection}
Either put the files where that user can read them, such as in /etc/backhaul:
  install -D -o {user} -m 600 {file} /etc/backhaul/{name}
or let the service run as root, with nearly all of its rights taken away: add --user root"""


def install(file: str, *, name: str, user: str, dry: bool, manager: Systemd) -> int:
    """Write the unit, enable and start it, or with `dry` print it; return the exit code.

    The files stay where they are, for a change of the file they name should reach the running program: the
    unit can't use copies of them, only a user who may read them.
    """
    try:
        path = Path(file).absolute()
        config = load(path)
        unit = plan(config, path, name=name, user=user)
        if dry:
            print(unit.text(), end="")
            return 0
        manager.require()
        _refuse_temporary(config, path, name)
        _admit(unit, path)
        manager.install(unit)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    except (BackhaulError, ValueError, OSError) as error:
        return _fail(error)
    print(_INSTALLED.format(unit=manager.units / f"{name}.service", user=user, file=path, name=name))
    return 0


def uninstall(*, name: str, manager: Systemd) -> int:
    """Stop the service and remove its unit; return the exit code."""
    try:
        manager.require()
        manager.uninstall(name)
    except (BackhaulError, OSError) as error:
        return _fail(error)
    print(f"{name}.service is stopped and removed; the configuration and {_STATE / name} stay")
    return 0


def status(*, name: str, manager: Systemd) -> int:
    """Show what systemd says about the service; return its exit code (0: active)."""
    try:
        return manager.status(name)
    except (BackhaulError, OSError) as error:
        return _fail(error)


def plan(config: Config, path: Path, *, name: str, user: str) -> Unit:
    """Return the unit for a configuration; raise BackhaulError when a file is named by a relative path."""
    low_page = 0 < config.web_port < _PRIVILEGED_PORTS
    return Unit(
        name=name,
        about=f"Backhaul {'server' if isinstance(config, ServerConfig) else 'client'}",
        command=_program("-c", path),
        user=user,
        low_ports=isinstance(config, ServerConfig) or low_page,  # a reload may add any port
        tuning=not config.skip_optz,
        homes=any(_below(file, _HOMES) for file in _files(config, path, _STATE / name).values()),
        writable=tuple(_foreign_log(config, _STATE / name)),
        stop_timeout=config.shutdown_timeout + _CLOSING,
    )


def _program(*arguments: str | Path) -> tuple[str, ...]:
    """Return this program's command; -P keeps Python from importing what lies in the working directory."""
    return (sys.executable, "-P", "-m", "backhaul", *map(str, arguments))


def _files(config: Config, path: Path, state: Path) -> dict[str, Path]:
    """Return everything that the service has to read, by what it is."""
    program = {"the program": Path(sys.prefix), "its Python": Path(sys.base_prefix)}
    return {"the configuration": path} | program | _named_files(config, state)


def _named_files(config: Config, state: Path) -> dict[str, Path]:
    """Return the files and directories to read that the configuration names, by key."""
    if isinstance(config, ServerConfig):
        shown = "" if config.decoy == "404" or "://" in config.decoy else config.decoy
        named = {"decoy": shown} | (
            {"tls_cert": config.tls_cert, "tls_key": config.tls_key} if config.facts.tls else {}
        )
    else:
        named = {"tls_ca": config.tls_ca if config.facts.tls else ""}
    for key, value in named.items():
        if value and not Path(value).is_absolute():
            raise BackhaulError(f'{key}: "{value}" is relative, and a service starts in {state}; write the whole path')
    return {key: Path(value) for key, value in named.items() if value}


def _foreign_log(config: Config, state: Path) -> Iterator[str]:
    """Yield the directory of the usage log if it is not the service's own."""
    folder = (state / config.sniffer_log).parent
    if config.sniffer and folder != state:
        yield str(folder)


def _below(file: Path, folders: tuple[Path, ...]) -> bool:
    return any(path.is_relative_to(folder) for path in (file, file.resolve()) for folder in folders)


def _refuse_temporary(config: Config, path: Path, name: str) -> None:
    for role, file in _files(config, path, _STATE / name).items():
        if _below(file, _TEMPORARY):
            raise BackhaulError(f"{role}: {file} does not last, and a service has a /tmp of its own; move it elsewhere")


def _admit(unit: Unit, path: Path) -> None:
    """Make sure of the service's user, and that it can read and write what it has to."""
    if unit.user == USER:
        make_user(USER)
    if problem := objection(unit.user, _program("check", path)):
        raise BackhaulError(
            _OBJECTION.format(
                user=unit.user, file=path, name=path.name, objection="\n  ".join(problem.splitlines()[-5:])
            )
        )
    for folder in unit.writable:
        if objection(unit.user, ["test", "-w", folder]):
            advice = f"a relative name goes to {_STATE / unit.name}"
            raise BackhaulError(f'sniffer_log: user "{unit.user}" can\'t write to {folder}; {advice}')


def _fail(error: Exception) -> int:
    print(f"backhaul service: {error}", file=sys.stderr)
    return 1

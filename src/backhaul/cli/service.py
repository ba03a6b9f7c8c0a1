"""The command ``backhaul service``: installs one end as a systemd service of this machine."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from backhaul.config import ConfigError, ServerConfig, load
from backhaul.config.doors import entries
from backhaul.config.files import find_files
from backhaul.config.schema import Config, doors_of
from backhaul.errors import BackhaulError
from backhaul.paths import is_folder
from backhaul.system.program import FORKS, command, files
from backhaul.system.systemd import Systemd, make_user, objection
from backhaul.system.unit import Unit

USER: Final = "backhaul"
_STATE: Final = Path("/var/lib")
_HOMES: Final = (Path("/home"), Path("/root"), Path("/run/user"))
_PRIVILEGED_PORTS: Final = 1024
_CLOSING: Final = 15  # seconds to end after shutdown_timeout

_INSTALLED: Final = """\
{unit} is installed, enabled and running as user {user}
  backhaul status -c {file}
  journalctl -fu {name}
show its status and its log; change settings with `systemctl edit {name}`"""

_OBJECTION: Final = """\
the service's user "{user}" cannot run {file}:
  {objection}
Either {advice}
or run the service as root, without most of root's capabilities: add --user root"""


def install(
    file: str, *, name: str, user: str, dry: bool, manager: Systemd, program: tuple[str, ...] = command()
) -> int:
    """Write the unit, enable and start it, or with ``dry`` print it; return the exit code.

    ``file`` may be a directory, whose files run in one process.

    The files are not copied, so that later changes reach the running program. Therefore the service's user must be
    able to read them.
    """
    try:
        path = Path(file).absolute()
        configs = {file: load(file) for file in find_files([path])}
        plans = [plan(config, file, name=name, user=user, program=program) for file, config in configs.items()]
        unit = _joined(plans, path) if is_folder(path) else plans[0]
        if dry:
            print(unit.text(), end="")
            return 0
        manager.require()
        for one, config in configs.items():
            _refuse_temporary(config, one, name, manager.temporary)
        _admit(unit, path, program, manager.settings)
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
    """Show the service's state in systemd; return the exit code of systemctl (0: active)."""
    try:
        return manager.status(name)
    except (BackhaulError, OSError) as error:
        return _fail(error)


def plan(config: Config, path: Path, *, name: str, user: str, program: tuple[str, ...] = command()) -> Unit:
    """Return the unit for a configuration; raise BackhaulError if it names a file by a relative path."""
    low_page = config.page is not None and 0 < config.page.port < _PRIVILEGED_PORTS
    return Unit(
        name=name,
        about=f"Backhaul {'server' if isinstance(config, ServerConfig) else 'client'}",
        command=(*program, "-c", str(path)),
        forks=FORKS,
        user=user,
        low_ports=isinstance(config, ServerConfig) or low_page,  # a reload of a server may add any port
        tuning=not config.skip_optz,
        marks=any(door.mark for door in doors_of(config)),
        interface=any(door.bind_interface for door in doors_of(config)),
        homes=any(_below(file, _HOMES) for file in _files(config, path, _STATE / name).values()),
        writable=tuple(_foreign_logs(config, _STATE / name)),
        stop_timeout=config.shutdown_timeout + _CLOSING,
    )


def _joined(plans: Sequence[Unit], folder: Path) -> Unit:
    """Return the unit that runs all files of a directory, with the rights that any of them needs."""
    first = plans[0]
    return replace(
        first,
        about="Backhaul",
        command=(*first.command[:-1], str(folder)),
        low_ports=any(one.low_ports for one in plans),
        tuning=any(one.tuning for one in plans),
        marks=any(one.marks for one in plans),
        interface=any(one.interface for one in plans),
        homes=any(one.homes for one in plans),
        writable=tuple(sorted({path for one in plans for path in one.writable})),
        stop_timeout=max(one.stop_timeout for one in plans),
    )


def _files(config: Config, path: Path, state: Path) -> dict[str, Path]:
    """Return the files that the service must be able to read, by their role."""
    return {"the configuration": path} | files() | _named_files(config, state)


def _named_files(config: Config, state: Path) -> dict[str, Path]:
    """Return the files and directories that the configuration names, by key."""
    if isinstance(config, ServerConfig):
        shown = "" if config.decoy == "404" or "://" in config.decoy else config.decoy
        named = {"decoy": shown} | (
            {"tls_cert": config.tls_cert, "tls_key": config.tls_key} if config.facts.tls else {}
        )
    else:
        named = {"tls_ca": config.tls_ca if config.facts.tls else ""}
    named |= {"token_file": config.token_file} | config.page_files
    for start, _, other in entries(config):
        named |= {f"{start}tls_ca": other.tls_ca if other.facts.tls else "", f"{start}token_file": other.token_file}
    for key, value in named.items():
        if value and not Path(value).is_absolute():
            raise BackhaulError(f'{key}: "{value}" is relative, and a service starts in {state}; write the full path')
    return {key: Path(value) for key, value in named.items() if value}


def _foreign_logs(config: Config, state: Path) -> Iterator[str]:
    """Yield the directories of usage log and access log that are not the state directory."""
    files = [config.sniffer_log] if config.sniffer else []
    if isinstance(config, ServerConfig) and config.access_log.startswith("/"):
        files.append(config.access_log)
    folders = {(state / file).parent for file in files}
    yield from sorted(str(folder) for folder in folders if folder != state)


def _below(file: Path, folders: tuple[Path, ...]) -> bool:
    return any(path.is_relative_to(folder) for path in (file, file.resolve()) for folder in folders)


def _refuse_temporary(config: Config, path: Path, name: str, temporary: tuple[Path, ...]) -> None:
    for role, file in _files(config, path, _STATE / name).items():
        if _below(file, temporary):
            raise BackhaulError(f"{role}: {file} is temporary, and a service has its own /tmp; move it elsewhere")


def _admit(unit: Unit, path: Path, program: tuple[str, ...], settings: Path) -> None:
    """Add the service's user if it is missing, and check that it can read and write the files it needs."""
    if unit.user == USER:
        make_user(USER)
    if problem := objection(unit.user, [*program, "check", str(path)]):
        shown = "\n  ".join(problem.splitlines()[-5:])
        raise BackhaulError(
            _OBJECTION.format(user=unit.user, file=path, objection=shown, advice=_advice(path, unit.user, settings))
        )
    for folder in unit.writable:
        if objection(unit.user, ["test", "-w", folder]):
            raise BackhaulError(
                f'sniffer_log, access_log: user "{unit.user}" cannot write to {folder}; '
                f"the service has {_STATE / unit.name}"
            )


def _advice(path: Path, user: str, settings: Path) -> str:
    """Return commands after which the user can read a file or directory; it is as private as before."""
    place = settings / path.name
    if path == place:
        return f"let that user read what is there:\n  chown -R {user} {path}"
    if is_folder(path):
        copy = f"mkdir -p {settings} && cp -r {path} {settings} && chown -R {user} {place}"
    else:
        copy = f"install -D -o {user} -m 600 {path} {place}"
    return f"put the files where that user can read them, such as in {settings}:\n  {copy}"


def _fail(error: Exception) -> int:
    print(f"backhaul service: {error}", file=sys.stderr)
    return 1

"""The command ``backhaul doctor``: finds faults of one end, and names their remedies."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from backhaul.bare_tokens import warned
from backhaul.config import ClientConfig, ConfigError, load
from backhaul.config.address import parse_port
from backhaul.config.schema import Config, side_of
from backhaul.doctor import client, nat, server
from backhaul.doctor.circumstances import Circumstances, Spare
from backhaul.doctor.diagnosis import diagnose
from backhaul.doctor.finding import Finding, Verdict
from backhaul.doctor.report import PLAIN_SIGNS, SIGNS, render
from backhaul.errors import BackhaulError
from backhaul.system.known_servers import KnownServers
from backhaul.system.programs import all_programs, programs_of
from backhaul.system.state_directory import state_directory
from backhaul.wire.targets import BadTargetError, parse_target

from . import event_loop
from .programs import is_root


class Wishes(NamedTuple):
    """The options of the command."""

    as_json: bool = False
    measure_nat: bool = False
    spares: Sequence[Spare] = ()
    save: Path | None = None
    """The support archive to make."""


class Report(NamedTuple):
    """The findings about an end."""

    file: str
    config: Config
    findings: list[Finding]

    @property
    def code(self) -> int:
        """The exit code: 1 if there is a fault."""
        return 1 if any(finding.verdict is Verdict.FAULT for finding in self.findings) else 0

    def text(self, signs: dict[Verdict, str]) -> str:
        """Return the findings for people."""
        config = self.config
        way = f"dials {config.remote_addr}" if isinstance(config, ClientConfig) else f"tunnel on {config.bind_addr}"
        head = f"{self.file}: {side_of(config)}, transport {config.transport}, {way}"
        return f"{head}\n\n{render(self.findings, signs)}"

    def json(self) -> str:
        """Return the findings for programs."""
        config = self.config
        document = {"config": self.file, "side": side_of(config), "transport": config.transport}
        encoded = msgspec.json.encode({**document, "findings": self.findings})
        return msgspec.json.format(encoded, indent=2).decode()


def run(file: str | None, wishes: Wishes) -> int:
    """Print the findings about the end that ``file`` describes, or the only one that runs on this machine.

    With ``measure_nat`` this takes two minutes longer, and some seconds for each of ``spares``. Returns 0 without a
    fault, otherwise 1. Raises BackhaulError if the file is wrong or not known, or the archive can't be written.
    """
    file = file or _only_file()
    if wishes.save:
        return _run_and_save(file, wishes, wishes.save)
    report = _examine(file, wishes)
    _show(report, wishes)
    return report.code


def parse_spare(text: str) -> Spare:
    """Read ``PORT`` or ``PORT=TARGET``; raise argparse.ArgumentTypeError for anything else."""
    port, _, target = text.partition("=")
    try:
        return Spare(parse_port(port), parse_target(target or port))
    except (ValueError, BadTargetError) as error:
        raise argparse.ArgumentTypeError(f"{text!r}: {error}") from None


def _run_and_save(file: str, wishes: Wishes, path: Path) -> int:
    from .support import NewFile, save  # noqa: PLC0415 - few runs save anything

    with NewFile(path) as new:
        try:
            report = _examine(file, wishes)
        except ConfigError as mistakes:
            if os.access(file, os.R_OK):  # a program may run with an earlier content
                _tell(save(new, file, mistakes))
            raise
        try:
            line = save(new, file, report)
        finally:
            _show(report, wishes)
    _tell(line)
    return report.code


def _examine(file: str, wishes: Wishes) -> Report:
    config = warned(load(file))
    state, found = state_directory(), programs_of(file)
    around = Circumstances(
        file=file,
        programs=tuple(found.documents),
        problems=tuple(found.problems),
        foreign=tuple(found.foreign),
        known=KnownServers(state),
        silences=nat.DELAYS if wishes.measure_nat else (),
        spares=tuple(wishes.spares),
        state=state,
    )
    return Report(file, config, event_loop.run(_diagnose(config, around)))


async def _diagnose(config: Config, around: Circumstances) -> list[Finding]:
    if not isinstance(config, ClientConfig):
        return await diagnose(server.checks(config, around), around.limit)
    findings = await diagnose(client.checks(config, around), around.limit)
    for measurement in client.measurements(config, around):
        findings += await diagnose([measurement], around.limit)
    return findings


def _only_file() -> str:
    """Return the file of the running program; raise BackhaulError unless there is exactly one."""
    files = sorted({str(document.get("config")) for document in all_programs().documents})
    if not files:
        which = "" if is_root() else " that you may ask"
        raise BackhaulError(f"no program{which} runs on this machine; name a file: backhaul doctor -c FILE")
    if len(files) > 1:
        raise BackhaulError(f"several programs run: name the file of one with -c: {', '.join(files)}")
    return files[0]


def _show(report: Report, wishes: Wishes) -> None:
    print(report.json() if wishes.as_json else report.text(_signs()))


def _tell(line: str) -> None:
    """Print a line that is no part of the report."""
    print(line, file=sys.stderr)


def _signs() -> dict[Verdict, str]:
    try:
        "".join(SIGNS.values()).encode(getattr(sys.stdout, "encoding", None) or "ascii")
    except UnicodeEncodeError:
        return PLAIN_SIGNS
    return SIGNS

"""The command ``backhaul doctor``: finds faults of one end, and names their remedies."""

import argparse
import sys
from collections.abc import Sequence

import msgspec

from backhaul.bare_tokens import warned
from backhaul.config import ClientConfig, load
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


def run(file: str | None, *, as_json: bool, measure_nat: bool, spares: Sequence[Spare]) -> int:
    """Print the findings about the end that ``file`` describes, or the only one that runs on this machine.

    With ``measure_nat`` this takes two minutes longer, and some seconds for each of ``spares``. Returns 0 without a
    fault, otherwise 1. Raises BackhaulError if the file is wrong or not known.
    """
    file = file or _only_file()
    config = warned(load(file))
    state = state_directory()
    around = Circumstances(
        file=file,
        programs=tuple(programs_of(file).documents),
        known=KnownServers(state),
        silences=nat.DELAYS if measure_nat else (),
        spares=tuple(spares),
        state=state,
    )
    findings = event_loop.run(_diagnose(config, around))
    print(_json(file, config, findings) if as_json else _text(file, config, findings))
    return 1 if any(finding.verdict is Verdict.FAULT for finding in findings) else 0


def parse_spare(text: str) -> Spare:
    """Read ``PORT`` or ``PORT=TARGET``; raise argparse.ArgumentTypeError for anything else."""
    port, _, target = text.partition("=")
    try:
        return Spare(parse_port(port), parse_target(target or port))
    except (ValueError, BadTargetError) as error:
        raise argparse.ArgumentTypeError(f"{text!r}: {error}") from None


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


def _json(file: str, config: Config, findings: list[Finding]) -> str:
    document = {"config": file, "side": side_of(config), "transport": config.transport, "findings": findings}
    return msgspec.json.format(msgspec.json.encode(document), indent=2).decode()


def _text(file: str, config: Config, findings: list[Finding]) -> str:
    way = f"dials {config.remote_addr}" if isinstance(config, ClientConfig) else f"tunnel on {config.bind_addr}"
    return f"{file}: {side_of(config)}, transport {config.transport}, {way}\n\n{render(findings, _signs())}"


def _signs() -> dict[Verdict, str]:
    try:
        "".join(SIGNS.values()).encode(getattr(sys.stdout, "encoding", None) or "ascii")
    except UnicodeEncodeError:
        return PLAIN_SIGNS
    return SIGNS

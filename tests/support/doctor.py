"""Findings of the doctor, as tests ask for them."""

import socket
from collections.abc import AsyncIterator, Iterable
from typing import Any

from backhaul.config import ClientConfig
from backhaul.doctor.circumstances import Circumstances, Waits
from backhaul.doctor.finding import Finding, Verdict
from backhaul.doctor.journey import Journey

SOON = Waits(name=0.1, connect=0.3, answer=0.3, segment=0.3, packet=0.0, target=0.3)
"""Waits of tests in which something does not come."""


def around(**changes: Any) -> Circumstances:  # noqa: ANN401 - any field
    """Return the circumstances of a test."""
    return Circumstances(**({"file": "client.toml"} | changes))


async def travel(config: ClientConfig, **changes: Any) -> list[Finding]:  # noqa: ANN401 - any field
    """Return the findings on the way to the server."""
    return await gathered(Journey(config, around(**changes)).travel())


async def gathered(findings: AsyncIterator[Finding]) -> list[Finding]:
    """Return all findings."""
    return [finding async for finding in findings]


def verdicts(findings: Iterable[Finding]) -> dict[str, Verdict]:
    """Return the last verdict about each subject."""
    return {finding.subject: finding.verdict for finding in findings}


def only(findings: Iterable[Finding], verdict: Verdict = Verdict.FAULT) -> Finding:
    """Return the only finding with this verdict."""
    (found,) = [finding for finding in findings if finding.verdict is verdict]
    return found


def answering(*addresses: str) -> Any:  # noqa: ANN401 - a look-up
    """Return a look-up that gives these addresses to every name."""
    families = [(socket.AF_INET6 if ":" in address else socket.AF_INET, address) for address in addresses]
    found = [
        (family, (address, 0, 0, 0) if family == socket.AF_INET6 else (address, 0)) for family, address in families
    ]
    return lambda _name: tuple(found)

"""The run of all checks: side by side, each within a time limit, and none of them stops the others."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import aclosing
from typing import NamedTuple

from backhaul.errors import MEMORY_ADVICE, out_of_memory

from .finding import Finding, fault


class Check(NamedTuple):
    """One check, or several that need each other's results."""

    subject: str
    run: Callable[[], AsyncIterator[Finding]]


def local(subject: str, examine: Callable[[], Iterable[Finding]]) -> Check:
    """Return a check of this machine; a thread runs it, because a disk may be slow."""

    async def run() -> AsyncIterator[Finding]:
        for finding in await asyncio.to_thread(lambda: list(examine())):
            yield finding

    return Check(subject, run)


async def diagnose(checks: Sequence[Check], limit: float) -> list[Finding]:
    """Return the findings of all checks in their order; each check gets ``limit`` seconds."""
    results = await asyncio.gather(*(_findings(check, limit) for check in checks))
    return [finding for findings in results for finding in findings]


async def _findings(check: Check, limit: float) -> list[Finding]:
    findings: list[Finding] = []
    try:
        async with asyncio.timeout(limit), aclosing(check.run()) as found:  # type: ignore[type-var]
            async for finding in found:
                findings.append(finding)  # noqa: PERF401 - those before the time limit count
    except TimeoutError:
        findings.append(fault(check.subject, f"no result within {limit:g} s", "run the command again"))
    except Exception as error:  # noqa: BLE001 - a defect of one check must not hide the findings of others
        if out_of_memory(error):
            findings.append(fault(check.subject, f"this check has no memory or no thread: {error}", MEMORY_ADVICE))
            return findings
        text = f"this check failed: {type(error).__name__}: {error}"
        findings.append(fault(check.subject, text, "report this as a defect of the program"))
    return findings

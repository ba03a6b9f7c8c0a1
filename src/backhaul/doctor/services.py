"""The check of a name whose SRV records list the servers, and of the way to each of them."""

import asyncio
from collections.abc import AsyncIterator
from typing import Final

from msgspec.structs import replace

from backhaul.config import Address, ClientConfig
from backhaul.config.address import ServiceAddress
from backhaul.config.services import Ranks, ranks_of
from backhaul.errors import reason
from backhaul.net.services import Services

from .circumstances import Circumstances
from .finding import Finding, fault, ok
from .journey import Journey
from .wording import count

SUBJECT: Final = "service"


async def travel(config: ClientConfig, around: Circumstances) -> AsyncIterator[Finding]:
    """Yield the findings on the way to a server, or to each server of a service."""
    if not isinstance(config.remote_addr, ServiceAddress):
        async for finding in Journey(config, around).travel():
            yield finding
        return
    ranks, finding = await find(config, around)
    yield finding
    for findings in await asyncio.gather(*(_to_one(config, address, around) for address in ranks)):
        for finding in findings:
            yield finding


async def find(config: ClientConfig, around: Circumstances) -> tuple[Ranks, Finding]:
    """Return the servers of a service, and the finding."""
    name, lookups = config.remote_addr.host, Services(lookup=around.services)
    remedy = f"correct the address, or the SRV records (`dig SRV {name}` asks for them); see also /etc/resolv.conf"
    try:
        async with asyncio.timeout(around.waits.name):
            ranks = ranks_of(await lookups.renewed(name))
    except TimeoutError:
        return {}, fault(SUBJECT, f"{name}: the name servers do not answer within {around.waits.name:g} s", remedy)
    except OSError as error:
        return {}, fault(SUBJECT, f"{name}: {reason(error)}", remedy)
    finally:
        lookups.close()
    listed = ", ".join(f"{address} (priority {rank})" for address, rank in ranks.items())
    return ranks, ok(SUBJECT, f"{name}: {count(len(ranks), 'server')}: {listed}")


async def _to_one(config: ClientConfig, address: Address, around: Circumstances) -> list[Finding]:
    """Return the findings on the way to a server, which they name."""
    found = Journey(config.at(address), around).travel()
    return [replace(finding, subject=f"{finding.subject} of {address}") async for finding in found]

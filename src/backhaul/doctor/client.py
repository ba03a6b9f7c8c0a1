"""The checks of a client."""

from collections.abc import AsyncIterator
from functools import partial

from msgspec.structs import replace

from backhaul.config import ClientConfig

from . import descriptors, files, kernel, log, ports, program, services, targets, throughput
from .circumstances import Circumstances
from .diagnosis import Check, local
from .finding import Finding


def checks(config: ClientConfig, around: Circumstances) -> list[Check]:
    """Return the checks in the order of their lines."""
    return [
        local("file", partial(files.examine, config, around)),
        local(program.SUBJECT, partial(program.examine, around, "client")),
        local(log.SUBJECT, partial(log.examine, around, "client")),
        Check("server", partial(services.travel, config, around)),
        *(Check(str(other.remote_addr), partial(_to_another, other, around)) for other in config.others),
        Check(targets.SUBJECT, partial(targets.examine, config, around)),
        local(ports.SUBJECT, partial(ports.page, config, around)),
        local(files.PAGE, partial(files.page_certificate, config, around.now())),
        local("state", partial(files.state, around)),
        local(descriptors.SUBJECT, partial(descriptors.examine, around)),
        local(kernel.SUBJECT, partial(kernel.examine, around.proc)),
    ]


def measurements(config: ClientConfig, around: Circumstances) -> list[Check]:
    """Return the checks that fill the line, and therefore run after the others."""
    measure = partial(throughput.examine, config, around)
    return [Check(throughput.SUBJECT, partial(measure, spare)) for spare in around.spares]


async def _to_another(config: ClientConfig, around: Circumstances) -> AsyncIterator[Finding]:
    """Yield the findings on the way to another server, whose address they name."""
    async for finding in services.travel(config, around):
        yield replace(finding, subject=f"{finding.subject} of {config.remote_addr}")

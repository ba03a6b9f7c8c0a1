"""The checks of a client."""

from functools import partial

from backhaul.config import ClientConfig

from . import descriptors, files, kernel, ports, program, targets, throughput
from .circumstances import Circumstances
from .diagnosis import Check, local
from .journey import Journey


def checks(config: ClientConfig, around: Circumstances) -> list[Check]:
    """Return the checks in the order of their lines."""
    return [
        local("file", partial(files.examine, config, around)),
        local(program.SUBJECT, partial(program.examine, around, "client")),
        Check("server", Journey(config, around).travel),
        Check(targets.SUBJECT, partial(targets.examine, config, around)),
        local(ports.SUBJECT, partial(ports.page, config, around)),
        local("state", partial(files.state, around)),
        local(descriptors.SUBJECT, partial(descriptors.examine, around)),
        local(kernel.SUBJECT, partial(kernel.examine, around.proc)),
    ]


def measurements(config: ClientConfig, around: Circumstances) -> list[Check]:
    """Return the checks that fill the line, and so have to wait for the others."""
    measure = partial(throughput.examine, config, around)
    return [Check(throughput.SUBJECT, partial(measure, spare)) for spare in around.spares]

"""The checks of a server."""

from functools import partial

from backhaul.config import ServerConfig

from . import clock, descriptors, files, kernel, log, ports, program
from .circumstances import Circumstances
from .diagnosis import Check, local


def checks(config: ServerConfig, around: Circumstances) -> list[Check]:
    """Return the checks in the order of their lines."""
    certificate = [local("certificate", partial(files.certificate, config, around.now()))] if config.facts.tls else []
    return [
        local("file", partial(files.examine, config, around)),
        local(program.SUBJECT, partial(program.examine, around, "server")),
        local(log.SUBJECT, partial(log.examine, around, "server")),
        local(ports.SUBJECT, partial(ports.examine, config, around)),
        *certificate,
        local(files.PAGE, partial(files.page_certificate, config, around.now())),
        local(clock.SUBJECT, clock.synchronised),
        local(descriptors.SUBJECT, partial(descriptors.examine, around)),
        local(kernel.SUBJECT, partial(kernel.examine, around.proc)),
    ]

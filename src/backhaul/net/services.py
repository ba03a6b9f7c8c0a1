"""Look-up of SRV records (RFC 2782), which the system's resolver does not offer."""

import errno
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from .resolver import LookUps

if TYPE_CHECKING:
    from dns.resolver import Answer, Resolver


class Record(NamedTuple):
    """A server of a service; a lower number comes first."""

    priority: int
    host: str
    port: int


Records = tuple[Record, ...]
ServiceLookUp = Callable[[str], Records]


class Services(LookUps[Records]):
    """Look-ups of the servers of services."""


def look_up_service(name: str) -> Records:
    """Ask the name servers of the system and wait for their answer; raise OSError."""
    from dns.resolver import Resolver  # noqa: PLC0415 - an extra, which few clients need

    return records_of(name, Resolver)


def records_of(name: str, make_resolver: "Callable[[], Resolver]") -> Records:
    """Ask the name servers of a new resolver, because the system's may have changed; raise OSError."""
    from dns import exception, resolver  # noqa: PLC0415

    try:
        answer = make_resolver().resolve(name, "SRV", search=True)
    except (resolver.NXDOMAIN, resolver.NoAnswer):
        raise socket.gaierror(socket.EAI_NONAME, "no such name, or it has no SRV records") from None
    except exception.Timeout:
        raise OSError(errno.ETIMEDOUT, "the name servers do not answer") from None
    except exception.DNSException as error:
        raise OSError(errno.EIO, f"the name servers fail: {error}") from None
    return _usable(answer)


def _usable(answer: "Answer") -> Records:
    """Return the records, the first ones first; raise OSError if the service is not offered: its only target is "."."""
    found = {Record(one.priority, one.target.to_text(omit_final_dot=True), one.port) for one in answer}
    if not (offered := sorted(record for record in found if record.host != ".")):
        raise socket.gaierror(socket.EAI_NONAME, "its SRV record says that the service is not offered")
    return tuple(offered)

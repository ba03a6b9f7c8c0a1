"""The servers that the SRV records of a name list."""

import errno
from typing import Final

from backhaul.errors import BackhaulError
from backhaul.net.services import Record, Records
from backhaul.wire.targets import MAX_PORT

from .address import Address, parse_host

MOST: Final = 64
"""Servers of a name, whose owner may list thousands."""

Ranks = dict[Address, int]
"""Servers, each with a rank: those of a higher one are in use while the others can't be reached."""


class NoServerError(BackhaulError, OSError):
    """No record names a server that can be dialled."""


def ranks_of(records: Records) -> Ranks:
    """Return the servers of records that begin with the lowest priority; raise NoServerError if there are none."""
    ranks: Ranks = {}
    for record in filter(_is_valid, records[:MOST]):
        ranks.setdefault(Address(record.host, record.port), record.priority)
    if not ranks:
        raise NoServerError(errno.ENOENT, "none of its SRV records names a host and a port")
    return ranks


def _is_valid(record: Record) -> bool:
    """Return whether a record names a host and a port: it may hold anything."""
    try:
        parse_host(record.host)
    except ValueError:
        return False
    return 0 < record.port <= MAX_PORT

"""The session on a new tunnel connection, by what its peer has proved."""

import functools

from backhaul.mux.link import Link, LinkOwner
from backhaul.relay.engine import Relay
from backhaul.transports.connection import Connection, SealedConnection
from backhaul.wire.smux import Role, Settings


def make_link(
    relay: Relay,
    connection: Connection,
    role: Role,
    settings: Settings,
    owner: LinkOwner,
    *,
    messages: bool,
    proven: bool = True,
) -> Link:
    """Return the session, not started; ``messages`` is true if the transport's connections carry WebSocket messages."""
    sock, peer = connection.sock, connection.peer
    if not isinstance(connection, SealedConnection):
        return Link(relay, sock, role, settings, owner, peer=peer, proven=proven)
    from backhaul.mux import sealed_link  # noqa: PLC0415 - loads cryptography
    from backhaul.mux.records import MessageRecords, StreamRecords  # noqa: PLC0415

    seals = connection.seals
    if not seals.payload:
        make = sealed_link.MessageLink if messages else sealed_link.SealedTargetsLink
        return make(relay, sock, role, settings, owner, peer=peer, seals=seals)
    masked = functools.partial(MessageRecords, masked=role is Role.SERVER)
    make_records: sealed_link.MakeRecords = masked if messages else StreamRecords
    return sealed_link.SealedLink(relay, sock, role, settings, owner, peer=peer, seals=seals, make_records=make_records)

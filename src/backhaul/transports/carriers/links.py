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
    from backhaul.mux import sealed_link as sealed  # noqa: PLC0415 - loads cryptography
    from backhaul.mux.records import ClearMessages, MessageRecords, StreamRecords  # noqa: PLC0415
    from backhaul.mux.sealed_targets import SealedTargets  # noqa: PLC0415

    masked, seals = role is Role.SERVER, connection.seals
    make = functools.partial(sealed.RecordLink, relay, sock, role, settings, owner, peer=peer)
    if seals.payload:
        sender = functools.partial(sealed.SealedSender, sealer=seals.sealer)
        in_messages = functools.partial(MessageRecords, seals.opener, masked=masked)
        in_stream = functools.partial(StreamRecords, seals.opener)
        return make(make_records=in_messages if messages else in_stream, make_sender=sender)
    targets = SealedTargets(seals)
    if messages:
        records = functools.partial(ClearMessages, masked=masked)
        return make(make_records=records, make_sender=sealed.ClearSender, targets=targets)
    return Link(relay, sock, role, settings, owner, peer=peer, targets=targets)

"""The session on a new tunnel connection, by what its peer has proved."""

import dataclasses
import functools
from typing import TYPE_CHECKING, Final

from backhaul.mux.link import Link
from backhaul.mux.owner import LinkOwner
from backhaul.net.tls_socket import TlsSocket
from backhaul.transports.connection import Connection, SealedConnection
from backhaul.wire.peer import Feature
from backhaul.wire.smux import KNOWN_WINDOW, MAX_PAYLOAD, Role, Settings

if TYPE_CHECKING:
    from backhaul.mux.resources import ResumableResources
    from backhaul.mux.resumable_link import Line

_USUAL: Final = Settings()  # as in a file without mux_* keys

# 50 ms of CPU time every 12 s or more. The frames that cross the end of a user are counted, too.
_MOST_VAIN: Final = 1 << 16

_MOST_ORPHANS: Final = 256  # fair peers leave one for as long as a round trip takes
_ORPHAN_LIMIT: Final = 1 << 14  # and in a round trip all of their users may leave

# ruff: noqa: PLC0415 - what sealed connections need loads cryptography


def make_link(
    relay: "ResumableResources",
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
    from backhaul.mux.resumable_link import ResumableLink
    from backhaul.mux.sealed_link import RecordLink
    from backhaul.mux.sealed_targets import SealedTargets
    from backhaul.mux.targets import CLEAR

    seals, settings = connection.seals, _between_two(settings)
    targets = CLEAR if seals.payload else SealedTargets(seals)
    if not (seals.payload or messages or peer.supports(Feature.RESUME)):
        return Link(relay, sock, role, settings, owner, peer=peer, targets=targets)
    line = make_line(connection, role, messages=messages)
    if peer.supports(Feature.RESUME):
        return ResumableLink(relay, line, role, settings, owner, peer=peer, identity=seals.identity, targets=targets)
    return RecordLink(
        relay,
        sock,
        role,
        settings,
        owner,
        peer=peer,
        make_records=line.make_records,
        make_sender=line.make_sender,
        targets=targets,
    )


def _between_two(settings: Settings) -> Settings:
    """Return the settings of a session between two ends of this program.

    Whatever ``mux_version`` is, each stream has a window, so that a user who reads slowly delays no other. Without
    other wishes it is one that the sender knows, which saves a frame for each stream, and may grow to 6 MiB, enough for
    500 Mbit/s at a round trip of 100 ms; and frames are as large as smux allows, which halves their cost.
    """
    usual = settings.stream_buffer == _USUAL.stream_buffer and settings.receive_buffer >= _USUAL.receive_buffer
    return dataclasses.replace(
        settings,
        version=2,
        max_frame=settings.max_frame if settings.max_frame < _USUAL.max_frame else MAX_PAYLOAD,
        stream_buffer=KNOWN_WINDOW if usual else settings.stream_buffer,
        window_growth=(2 if usual else 1) * settings.receive_buffer,
        most_vain=_MOST_VAIN,
        most_orphans=_MOST_ORPHANS,
        orphan_limit=_ORPHAN_LIMIT,
    )


def make_line(connection: SealedConnection, role: Role, *, messages: bool) -> "Line":
    """Return a connection for a session, and the form of the bytes on it; its first records are small from now on."""
    from backhaul.mux.records import ClearMessages, MessageRecords, NoRecords, StreamRecords
    from backhaul.mux.resumable_link import Line
    from backhaul.mux.sealed_link import ClearSender, RecordSender, SealedSender

    sock, seals, masked = connection.sock, connection.seals, role is Role.SERVER
    if isinstance(sock, TlsSocket):
        sock.begin_small()
    private = seals.payload or isinstance(sock, TlsSocket)
    if not seals.payload:
        if messages:
            return Line(sock, functools.partial(ClearMessages, masked=masked), ClearSender, private)
        return Line(sock, NoRecords, RecordSender, private)
    sender = functools.partial(SealedSender, sealer=seals.sealer)
    if messages:
        return Line(sock, functools.partial(MessageRecords, seals.opener, masked=masked), sender, private)
    return Line(sock, functools.partial(StreamRecords, seals.opener), sender, private)

"""The session on a new tunnel connection, by what its peer has proved."""

import dataclasses
import functools
import ssl
from typing import TYPE_CHECKING

from backhaul.mux.link import Link
from backhaul.mux.owner import LinkOwner
from backhaul.transports.connection import Connection, SealedConnection
from backhaul.wire.peer import Feature
from backhaul.wire.smux import MAX_PAYLOAD, Role, Settings

if TYPE_CHECKING:
    from backhaul.mux.resources import ResumableResources
    from backhaul.mux.resumable_link import Line

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
    if peer.extended:
        settings = _with_large_frames(settings)
    if not isinstance(connection, SealedConnection):
        return Link(relay, sock, role, settings, owner, peer=peer, proven=proven)
    from backhaul.mux.resumable_link import ResumableLink
    from backhaul.mux.sealed_link import RecordLink
    from backhaul.mux.sealed_targets import SealedTargets
    from backhaul.mux.targets import CLEAR

    seals = connection.seals
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


def _with_large_frames(settings: Settings) -> Settings:
    """Return the settings of a session between two ends of this program.

    Its frames are as large as smux allows, which halves the cost of frames, unless ``mux_framesize`` is smaller than by
    default.
    """
    if settings.max_frame < Settings().max_frame:
        return settings
    return dataclasses.replace(settings, max_frame=MAX_PAYLOAD)


def make_line(connection: SealedConnection, role: Role, *, messages: bool) -> "Line":
    """Return a connection for a session, and the form of the bytes on it."""
    from backhaul.mux.records import ClearMessages, MessageRecords, NoRecords, StreamRecords
    from backhaul.mux.resumable_link import Line
    from backhaul.mux.sealed_link import ClearSender, RecordSender, SealedSender

    sock, seals, masked = connection.sock, connection.seals, role is Role.SERVER
    private = seals.payload or isinstance(sock, ssl.SSLSocket)
    if not seals.payload:
        if messages:
            return Line(sock, functools.partial(ClearMessages, masked=masked), ClearSender, private)
        return Line(sock, NoRecords, RecordSender, private)
    sender = functools.partial(SealedSender, sealer=seals.sealer)
    if messages:
        return Line(sock, functools.partial(MessageRecords, seals.opener, masked=masked), sender, private)
    return Line(sock, functools.partial(StreamRecords, seals.opener), sender, private)

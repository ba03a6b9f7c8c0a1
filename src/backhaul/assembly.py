"""Settings that both ends derive from their configuration in the same way."""

import asyncio
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Final

from backhaul.net.bridge import Bridges
from backhaul.net.poller import Poller
from backhaul.net.sockets import IDLE_INTERVAL, TUNNEL_IDLE, USED_INTERVAL, SocketOptions
from backhaul.net.tls import ClientTls
from backhaul.relay.engine import Relay
from backhaul.relay.flows import GRAIN, FlowTable
from backhaul.relay.patience import Patience
from backhaul.security.psk import AT_ONCE, pre_shared_key
from backhaul.system.memory import backlog_limit
from backhaul.system.shared_files import SharedFile
from backhaul.system.state_directory import state_directory
from backhaul.system.status_socket import socket_name
from backhaul.transports.auth import KnownServers, OwnTokens, Protection, Security
from backhaul.transports.settings import CarrierLimits, ClientSettings, GateLimits
from backhaul.tunnel.ledger import MAX_FILE, Store
from backhaul.tunnel.timings import Timings

from .config import ClientConfig, ServerConfig
from .config.address import EveryAddress
from .config.secret import Secret
from .threads import in_thread
from .wire import smux
from .wire.peer import EXTENSIONS, Feature

_MAX_PENDING: Final = 8192  # unauthenticated connections
_PENDING_SIZE: Final = 33 << 10  # bytes of one during its TLS handshake, measured
_PENDING_PART: Final = 8  # they may take an eighth of the memory, with all of them in a handshake

SESSION_PATIENCE = 300.0
"""Seconds of silence that end a session, so that its users survive the same outages as on other transports.

A vanished peer is noticed on the control channel within a minute; unused sessions are closed with it.
"""
_NOP_INTERVAL: Final = 20.0  # seconds, as in v0.7.2
_MAX_VISITORS: Final = 512  # of the decoy: some 25 MB if all are stalled within a file over TLS


def protection(config: ServerConfig | ClientConfig) -> Protection:
    """Return the protection that this end requires of its peers."""
    return Protection(Security(config.security), config.encryption)


async def prepare_keys(config: ServerConfig | ClientConfig) -> None:
    """Make the keys of the tokens, which takes 100 ms of a processor for one that a person has chosen."""
    if protection(config).seals:
        named = config.clients.named if isinstance(config, ServerConfig) else ()
        tokens = (*config.accepted, *(token for client in named for token in client.accepted))
        await asyncio.gather(*(in_thread(_make_keys, tokens[first::AT_ONCE]) for first in range(AT_ONCE)))


def _make_keys(tokens: Iterable[Secret]) -> None:
    for token in tokens:
        pre_shared_key(token.reveal().encode())


def mux_settings(config: ServerConfig | ClientConfig) -> smux.Settings:
    """Return the settings of sessions from the mux_* keys."""
    return smux.Settings(
        version=config.mux_version,
        max_frame=config.mux_framesize,
        receive_buffer=config.mux_recievebuffer,
        stream_buffer=config.mux_streambuffer,
        window_growth=0 if config.mux_version == 1 else config.mux_recievebuffer,
        keepalive_interval=min(config.keepalive_period, _NOP_INTERVAL),
        keepalive_timeout=SESSION_PATIENCE,
    )


def carrier_limits(config: ServerConfig) -> CarrierLimits:
    """Return the limits of a server's carriers."""
    return CarrierLimits(
        channel_size=config.channel_size,
        mux_con=config.mux_con,
        max_users=config.connection_max_users,
        max_age=config.connection_max_age,
    )


def features(config: ServerConfig | ClientConfig) -> frozenset[Feature]:
    """Return the features of this end beyond v0.7.2."""
    return EXTENSIONS if config.resume_timeout else EXTENSIONS - {Feature.RESUME}


def make_relay(poller: Poller, config: ServerConfig | ClientConfig, patience: Patience) -> Relay:
    """Return the data plane of an end with this configuration; it owns the poller afterwards."""
    flows = FlowTable(config.udp_max_flows, config.udp_timeout, grain=GRAIN)
    relay = Relay(poller, flows=flows, patience=_patient(config, patience), backlog_limit=backlog_limit())
    _set_resumption(relay, config)
    relay.copies.count = config.udp_copies
    return relay


def change_relay(relay: Relay, config: ServerConfig | ClientConfig) -> None:
    """Use another configuration for the data plane; users in flight stay."""
    patience = _patient(config, relay.patience)
    relay.apply(patience, max_flows=config.udp_max_flows, flow_timeout=config.udp_timeout)
    relay.copies.count = config.udp_copies
    _set_resumption(relay, config)


def _patient(config: ServerConfig | ClientConfig, patience: Patience) -> Patience:
    return replace(patience, half_close=config.half_close_timeout, keepalive=config.keepalive_period)


def _set_resumption(relay: Relay, config: ServerConfig | ClientConfig) -> None:
    """Apply the limits of sessions that outlive their connections.

    They take up to twice the memory that they count, because pieces of memory that are free wait for the next frames.
    """
    relay.resumption.apply(config.resume_timeout, min(config.resume_memory << 20, relay.budget.limit // 2))
    if isinstance(config, ClientConfig):
        relay.resumption.rotate(config.mux_max_age, config.mux_max_bytes << 20)
        relay.resumption.sole = len(config.doors) == 1 and not isinstance(config.remote_addr, EveryAddress)


def tunnel_options(config: ServerConfig | ClientConfig) -> SocketOptions:
    """Return the options of the connections between both ends."""
    keepalive = min(config.keepalive_period, TUNNEL_IDLE)
    return SocketOptions(
        nodelay=config.nodelay,
        keepalive=keepalive,
        interval=USED_INTERVAL if config.facts.mux else min(keepalive, IDLE_INTERVAL),
        mss=config.mss,
        rcvbuf=config.so_rcvbuf,
        sndbuf=config.so_sndbuf,
        mark=config.mark if isinstance(config, ClientConfig) else 0,
        interface=config.bind_interface if isinstance(config, ClientConfig) else "",
    )


def client_settings(
    config: ClientConfig, host: str, *, instance: bytes, known: KnownServers, bridges: Bridges, timings: Timings
) -> ClientSettings:
    """Return the settings of a tunnel to ``host``, one of the addresses of ``remote_addr``, or that itself.

    By ``instance`` a server recognises the same client on another way.
    """
    remote = config.remote_addr.unscoped
    return ClientSettings(
        remote_host=host or config.remote_addr.host,
        remote_port=remote.port,
        tokens=OwnTokens(token.reveal() for token in config.accepted),
        mux=mux_settings(config),
        protection=protection(config),
        instance=instance,
        known=known,
        host_header=str(remote),
        remembered_as=config.remembered_as,
        edge_ip=config.edge_ip,
        proxy=config.way,
        bridges=bridges,
        path=config.path,
        tls=_client_tls(config) if config.facts.tls else None,
        dial_timeout=config.dial_timeout,
        handshake_timeout=timings.handshake,
        upgrade_timeout=timings.upgrade,
        leave=timings.leave,
        tunnel_options=tunnel_options(config),
        features=features(config),
    )


def _client_tls(config: ClientConfig) -> ClientTls:
    return ClientTls(
        server_name=config.tls_server_name or config.remote_addr.unscoped.host,
        verify=config.tls_verify,
        ca=config.tls_ca,
        fingerprint=config.tls_fingerprint,
    )


def gate_limits(descriptors: int, memory: int) -> GateLimits:
    """Return the limits of unauthenticated connections and of visitors.

    The process may have ``descriptors`` descriptors and ``memory`` bytes.
    """
    pending = max(4, min(descriptors // 4, memory // _PENDING_PART // _PENDING_SIZE, _MAX_PENDING))
    visitors = min(max(4, descriptors // 8), _MAX_VISITORS)  # with a file or a connection to a website each
    return GateLimits(
        pending=pending,
        pending_per_address=pending // 4,
        unproven_sessions=pending,
        visitors=visitors,
        visitors_per_address=visitors // 4,
    )


def state_file(config: Path, kind: str) -> Path:
    """Return a file for state that must survive a restart of the program with this configuration."""
    return state_directory() / f"{socket_name(config).removesuffix('.sock')}.{kind}"


def quota_file(config: Path) -> Store:
    """Return the file for the bytes that users of this configuration have moved."""
    return SharedFile(state_file(config, "quotas"), MAX_FILE)

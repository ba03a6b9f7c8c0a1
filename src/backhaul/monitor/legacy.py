"""The JSON of v0.7.2's page, with the same field names and units, so that scripts keep working."""

from typing import Final

from msgspec import Struct, field

from .sampler import Sampler
from .status import Status
from .traffic import Share

_UNITS: Final = ("B", "KB", "MB", "GB", "TB")
_NAMES: Final = {"tcp": "TCP", "tcpmux": "TCPMux", "udp": "UDP"}  # other names are those of the configuration
_MISSING: Final = "-"  # for a figure that is not available on this machine


class Stats(Struct, rename="camel"):
    """The document of ``/stats``; every value is a text."""

    tunnel_status: str
    cpu_usage: str
    ram_usage: str
    disk_usage: str
    swap_usage: str
    network_traffic: str
    upload_speed: str
    download_speed: str
    backhaul_traffic: str
    sniffer: str
    all_connections: str


class PortUsage(Struct):
    """An entry of the document of ``/data``."""

    port: int = field(name="Port")
    usage: str = field(name="ReadableUsage")


def stats(status: Status, usage: dict[int, int], sampler: Sampler, *, sniffer: bool) -> Stats:
    """Return the document of ``/stats``; speeds and traffic are the machine's, as in v0.7.2."""
    machine, rate = sampler.machine, sampler.machine_rate
    return Stats(
        tunnel_status=f"{'Connected' if status.connected else 'Disconnected'} ({_name(status.transport)})",
        cpu_usage=_MISSING if machine.cpu is None else f"{machine.cpu:.2f}%",
        ram_usage=_used(machine.memory),
        disk_usage=_used(machine.disk),
        swap_usage=_used(machine.swap),
        network_traffic=_MISSING if machine.network is None else size(machine.network.received + machine.network.sent),
        upload_speed=_MISSING if rate is None else speed(rate.sent),
        download_speed=_MISSING if rate is None else speed(rate.received),
        backhaul_traffic=size(sum(usage.values())),
        sniffer="Running" if sniffer else "Not running",
        all_connections=_MISSING if machine.sockets is None else str(machine.sockets),
    )


def ports(usage: dict[int, int]) -> list[PortUsage]:
    """Return the document of ``/data``, sorted by port, those in use first, because v0.7.2 lists no others."""
    return [PortUsage(port, size(usage[port])) for port in sorted(usage, key=lambda port: (not usage[port], port))]


def _name(transport: str) -> str:
    return _NAMES.get(transport, transport)


def _used(share: Share | None) -> str:
    return _MISSING if share is None else size(share.used)


def size(number: int) -> str:
    """Return bytes as text, in units of 1024, with two decimals from KB on."""
    power = min(max(0, number.bit_length() - 1) // 10, len(_UNITS) - 1)  # 1024 is 2**10
    return f"{number / 1024**power:.2f} {_UNITS[power]}" if power else f"{number} B"


def speed(rate: float) -> str:
    """Return bytes per second as text, in units of 1000, unlike sizes, up to GB/s."""
    for unit, scale in (("GB/s", 1e9), ("MB/s", 1e6), ("KB/s", 1e3)):
        if rate >= scale:
            return f"{rate / scale:.2f} {unit}"
    return f"{rate:.2f} B/s"

"""Users whom a limit refuses: counted by reason, and logged now and then."""

from typing import Any

from backhaul.addresses import address_text, plain_ip
from backhaul.net.log_throttle import LogThrottle

from .admission import Objection
from .ports import Port


def refused(throttle: LogThrottle, port: Port, address: tuple[Any, ...], objection: Objection) -> None:
    """Count and log a user who is refused."""
    port.turned_away(objection.reason)
    user = address_text(plain_ip(address), address[1])
    throttle.warn((objection, port.label), f"user {user} of port {port.name}: refused: {objection}")

"""Users whom a limit refuses: counted by reason, and logged now and then."""

from typing import Any

from backhaul.net.log_throttle import LogThrottle

from .admission import Objection
from .news import News
from .outcomes import name
from .port import Port


def refused(throttle: LogThrottle, port: Port, address: tuple[Any, ...], objection: Objection, news: News) -> None:
    """Count and log a user who is refused, and report a limit that is reached."""
    port.turned_away(objection.reason)
    user = name(address)
    if objection.is_news:
        news.limit_hit(objection.limit, port=port.title, user=user)
    throttle.warn((objection, port.title), f"user {user} of port {port.name}: refused: {objection}")

"""A warning for targets that are Unix sockets, which a v0.7.2 client cannot dial."""

import logging
from collections.abc import Iterable

from backhaul.config import PortMapping
from backhaul.config.messages import few

log = logging.getLogger("backhaul.server")


def warn_of_paths(mappings: Iterable[PortMapping]) -> None:
    """Log the ports whose targets a v0.7.2 client, which has connected, cannot reach."""
    if concerned := [mapping for mapping in mappings if mapping.leads_to_path]:
        log.warning(
            "port %s: the client is v0.7.2, which cannot reach Unix sockets, and closes these users; run this program "
            "on the client's machine, or name a TCP target",
            few([f"{mapping.bind} ({mapping.target})" for mapping in concerned]),
        )

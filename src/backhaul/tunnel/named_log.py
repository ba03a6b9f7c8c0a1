"""A log whose lines name the server, if a client has several."""

import logging
from collections.abc import MutableMapping
from typing import Any


class NamedLog(logging.LoggerAdapter[logging.Logger]):
    """Begins each line with the name of the server, if there are several."""

    server = ""

    def process(self, msg: str, kwargs: MutableMapping[str, Any]) -> tuple[str, MutableMapping[str, Any]]:
        """Return the line with the name."""
        return (f"{self.server.replace('%', '%%')}: {msg}" if self.server else msg), kwargs

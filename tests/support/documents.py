"""A status socket with the same document for every request."""

from collections.abc import Callable

import msgspec

from backhaul.monitor.http import HttpServer
from backhaul.monitor.http_messages import Request, Response


def documents(read: Callable[[], object]) -> HttpServer:
    """Return a server that answers every request with the present result of ``read``."""

    async def respond(_: Request) -> Response:
        return Response(msgspec.json.encode(read()), "application/json")

    return HttpServer(respond)

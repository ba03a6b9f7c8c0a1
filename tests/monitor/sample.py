"""A tunnel whose status the test sets."""

import time

from msgspec.structs import replace

from backhaul.monitor.http_messages import Request, Response
from backhaul.monitor.program import Program
from backhaul.monitor.settings import Settings
from backhaul.monitor.status import Event, PortStatus, ServerStatus, Status
from backhaul.monitor.times import Times, no_times
from backhaul.monitor.traffic import Traffic, TrafficBoard
from backhaul.state import HistogramState, UserTimesState

STARTED = 1_700_000_000.0

SETTINGS = Settings(
    web_bind="127.0.0.1",
    web_port=0,
    web_user="",
    web_password="",
    metrics=("default", "prometheus"),
    sniffer=False,
    sniffer_log="unused",
)


def port(number: int, *, received: int = 0, sent: int = 0, target: str = "127.0.0.1:80") -> PortStatus:
    return PortStatus(
        port=number,
        bind="0.0.0.0",
        target=target,
        open=2,
        total=9,
        refused_by={},
        refused=0,
        dropped=0,
        target_refused=0,
        received=received,
        sent=sent,
        udp_flows=0,
        udp_dropped=0,
        up=True,
        problem="",
    )


def times(port: int = 443, client: str = "", bind: str = "", protocol: str = "") -> UserTimesState:
    """Return two histograms, of eight users who had a carrier and three who have left."""
    waiting = HistogramState((0.1, 1.0), (5, 2, 1), 0.25)
    return UserTimesState(bind, port, protocol, client, waiting, HistogramState((10.0,), (1, 2), 30.0))


def server_status(name: str, *, peer: str = "192.0.2.9", in_use: bool = True) -> ServerStatus:
    """Return one of the servers of a client, connected if it has a ``peer``."""
    return ServerStatus(name, "wssmux", in_use=in_use, connected=bool(peer), peer=peer, problem="", reconnects=4)


class Tunnel:
    """Pass ``read`` to the monitor, and change ``status`` between two of its looks."""

    def __init__(self, *ports: PortStatus, config: str = "/etc/backhaul/server.toml") -> None:
        self.status = Status(
            config=config,
            side="server",
            transport="tcpmux",
            stopping=False,
            draining=False,
            connected=True,
            peer="192.0.2.7:40112",
            problem="",
            rtt=0.0123,
            reconnects=1,
            unanswered=0,
            pool_idle=3,
            pool_size=8,
            allow_targets=(),
            sessions=2,
            streams=5,
            parked=1,
            resumes=6,
            rotations=2,
            resume_seconds=1.5,
            replayed=7000,
            spooled=8000,
            flows=0,
            now=STARTED + 60,
            started=STARTED,
            ports=ports,
            events=(Event(1, time.time(), "info", "client connected"),),
            version="1.2.3",
        )

    def read(self) -> Status:
        return self.status

    async def survey(self) -> Status:
        return self.status

    def totals(self) -> Traffic:
        ports = self.status.ports
        return Traffic(sum(port.received for port in ports), sum(port.sent for port in ports))

    def say(self, **changes: object) -> None:
        """Replace fields of the status."""
        self.status = replace(self.status, **changes)


async def no_api(request: Request) -> Response:
    """Answer requests to the API with the path."""
    return Response(f"api {request.path}".encode())


def program(tunnel: Tunnel, times: Times = no_times) -> Program:
    """Return a program without an API."""
    return Program(tunnel.read, tunnel.survey, tunnel.totals, no_api, TrafficBoard(), times)

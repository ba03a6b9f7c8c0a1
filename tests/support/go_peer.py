"""The Go peer as a process beside the test, and tunnels between it and this program."""

import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from backhaul.tunnel.timings import Timings

from .datagrams import UdpNet
from .net import HOST, Peer, free_port, until
from .tunnel import NO_WAIT, TOKEN

if TYPE_CHECKING:
    from backhaul.client import Client
    from backhaul.server import Server

STREAMS = ("tcp", "tcpmux", "ws", "wss", "wsmux", "wssmux")  # the transports for users who speak TCP
MUX = ("tcpmux", "wsmux", "wssmux")

# Signs in the peer's log that it received something it can't handle. No test may cause one of them.
_INTOLERABLE = (
    "panic",
    "unknown signal",
    "unknown type",
    "deaf on the control channel",
    "extensions offered",
    "compression was accepted",
    "ALPN h2",
    "instead of a target",
    "a stream without a target",
    "nobody wants",
    "too large",
    "a second control channel",
)


class Case(NamedTuple):
    """A transport, the end that is this program's, and a version of smux."""

    transport: str
    ours: str  # "server" or "client"
    mux_version: int = 0

    def __str__(self) -> str:
        version = f"-v{self.mux_version}" if self.mux_version else ""
        return f"{self.transport}{version}-our-{self.ours}"

    @property
    def muxed(self) -> bool:
        """True if tunnel connections are sessions."""
        return self.transport in MUX


def cases(transports: Sequence[str], *, versions: Sequence[int] = (1, 2)) -> list[Case]:
    """Return the cases of these transports, both ways round."""
    return [
        Case(transport, ours, version)
        for transport in transports
        for version in (versions if transport in MUX else (0,))
        for ours in ("server", "client")
    ]


class GoPeer:
    """A peer that runs, or has been killed and may be started again; its log is kept."""

    def __init__(self, command: Sequence[str | Path], log: Path) -> None:
        self.command = command
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None
        self._frozen: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """Run it."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self.command, stdout=log, stderr=log)

    @property
    def running(self) -> bool:
        """True while it runs; it ends by itself only in a crash."""
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        """Kill it; harmless when it has ended."""
        for process in [*self._frozen, self._process]:
            if process:
                process.kill()
                process.wait()

    def freeze(self) -> None:
        """Stop it without closing its connections; another one may be started beside it."""
        assert self._process
        self._process.send_signal(signal.SIGSTOP)
        self._frozen.append(self._process)

    def ask_to_stop(self) -> None:
        """Let it stop in order, and wait for its end."""
        assert self._process
        self._process.terminate()
        self._process.wait()

    @property
    def log(self) -> str:
        """All lines of its log so far."""
        return self._log.read_text() if self._log.exists() else ""

    def count(self, event: str) -> int:
        """Return how often its log holds the text."""
        return self.log.count(event)

    async def logs(self, event: str, times: int = 1) -> None:
        """Wait until its log holds the text; AssertionError with the whole log otherwise."""
        try:
            await until(lambda: self.count(event) >= times)
        except TimeoutError:
            raise AssertionError(f"the peer never logged {event!r}:\n{self.log}") from None

    def check(self) -> None:
        """AssertionError if it received anything that v0.7.2 can't handle, or has crashed."""
        log = self.log
        assert not [line for line in log.splitlines() if any(word in line for word in _INTOLERABLE)], log
        assert self.running, log


class Keys(NamedTuple):
    """Keys of the configuration that a test may set, for whichever end needs them."""

    mux_con: int = 8
    heartbeat: float = 40.0  # seconds
    pool: int = 8
    accept_udp: bool = False
    proxy_protocol: bool = False
    peer_token: str = TOKEN


class Mixed:
    """A tunnel with this program at one end and the peer at the other."""

    def __init__(self, net: UdpNet, case: Case, binary: Path, folder: Path, certificate: tuple[Path, Path]) -> None:
        self.net = net
        self.case = case
        self.bind_port = free_port()
        self.ports: list[int] = []
        self.peer = GoPeer([], folder / "peer.log")
        self.ours: Server | Client
        self._program = binary
        self._certificate = certificate
        self._mappings: list[str] = []
        self._keys = Keys()

    async def start(self, *targets: int | str, **keys: Any) -> None:  # noqa: ANN401 - those of Keys
        """Start both ends, with a local port for each target, and wait until they are connected."""
        self.prepare(*targets, **keys)
        await self.start_peer()
        await self.start_ours()
        await self.connected()

    def prepare(self, *targets: int | str, **keys: Any) -> None:  # noqa: ANN401 - those of Keys
        """Prepare the configuration of both ends, without starting either."""
        self.ports = [free_port() for _ in targets]
        self._mappings = [f"{HOST}:{port}={target}" for port, target in zip(self.ports, targets, strict=True)]
        self._keys = Keys(**keys)
        self.peer.command = [self._program, *self._options()]

    async def start_peer(self) -> None:
        """Start the peer, for the first time or again."""
        listening = self.peer.count("listening on")
        self.peer.start()
        if self.case.ours == "client":
            await self.peer.logs("listening on", listening + 1)

    async def start_ours(self, timings: Timings = NO_WAIT) -> None:
        """Start this program's end, for the first time or again; ``timings`` are those of the server."""
        if self.case.ours == "server":
            unchecked: dict[str, Any] = {"heartbeat": self._keys.heartbeat}
            self.ours = await self.net.server(
                self.bind_port, self._mappings, self._lines(), timings=timings, **unchecked
            )
        else:
            self.ours = await self.net.client(self.bind_port, self._lines())

    async def connected(self, times: int = 1) -> None:
        """Wait until the tunnel is up, for the peer for the ``times``th time."""
        await self.peer.logs("control channel open", times)
        await until(lambda: self.ours.tunnel.connected)
        if self.case.ours == "client":
            await self.peer.logs("local port", times * len(self.ports))

    async def user(self, index: int = 0) -> Peer:
        """Connect to a local port of the server."""
        return await self.net.dial(self.ports[index])

    def _lines(self) -> str:
        case, keys = self.case, self._keys
        lines = [f"mux_version = {case.mux_version}"] if case.muxed else []
        if case.ours == "client":
            return "\n".join([*lines, f"connection_pool = {keys.pool}"])
        if case.muxed:
            lines.append(f"mux_con = {keys.mux_con}")
        lines += [f"{name} = true" for name in ("accept_udp", "proxy_protocol") if getattr(keys, name)]
        return "\n".join(lines)

    def _options(self) -> list[str]:
        case, keys = self.case, self._keys
        options = ["-transport", case.transport, "-address", f"{HOST}:{self.bind_port}", "-token", keys.peer_token]
        options += ["-mux-version", str(case.mux_version or 1), "-retry", "50ms", "-reset-pause", "50ms"]
        if case.ours == "server":
            return ["-role", "client", *options, "-pool", str(keys.pool)]
        cert, key = self._certificate
        options += ["-ports", ",".join(self._mappings), "-cert", str(cert), "-key", str(key)]
        options += ["-mux-con", str(keys.mux_con), "-heartbeat", f"{keys.heartbeat}s"]
        options += [f"-accept-udp={str(keys.accept_udp).lower()}"]
        return ["-role", "server", *options, f"-proxy-protocol={str(keys.proxy_protocol).lower()}"]

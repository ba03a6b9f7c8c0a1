"""This smux and the Go library as the two ends of a TCP connection, in both roles and versions."""

import hashlib
import random
import select
import socket
import subprocess
import time
from pathlib import Path

import pytest
from tests.support.go_program import build

from backhaul.wire.smux import HEADER_SIZE, Role, Session, Settings, SmuxError, Stream

STREAMS = 6
SEEDS = range(5)
BACKLOG = 256 * 1024  # unsent bytes above which no more payload is framed
PATIENCE = 30.0  # seconds without an event after which the two ends count as stuck


@pytest.fixture(scope="module")
def peer() -> Path:
    """Build the program with the Go library."""
    return build("smuxpeer")


class Flow:
    """The application of one stream: it sends ``data`` or, without any, echoes."""

    def __init__(self, stream: "Stream[Flow]", data: bytes | None) -> None:
        stream.sink = self
        self.stream = stream
        self.echoing = data is None
        self.expected = b"" if data is None else data
        self.unsent = bytearray(self.expected)
        self.received = hashlib.sha256()
        self.count = 0
        self.ended = False

    def on_data(self, view: memoryview) -> int:
        self.received.update(view)
        self.count += len(view)
        if not self.echoing:
            return len(view)
        self.unsent += view  # consumed when it has been sent back
        return 0

    def on_fin(self) -> None:
        self.ended = True

    def on_window(self) -> None:
        """Do nothing: the driver asks every flow before it sleeps."""

    def on_lost(self, reason: SmuxError) -> None:
        raise AssertionError(reason)

    def frame(self, limit: int) -> bytes:
        """Return the next frame with at most ``limit`` bytes of payload, or b""."""
        count = min(len(self.unsent), self.stream.sendable(), limit)
        if not count:
            self._finish_when_done()
            return b""
        frame = bytearray(HEADER_SIZE) + self.unsent[:count]
        self.stream.put_headers(frame, 0, count)
        del self.unsent[:count]
        if self.echoing:
            self.stream.consumed(count)
        return bytes(frame)

    def _finish_when_done(self) -> None:
        done = self.ended if self.echoing else self.count == len(self.expected)
        if done and not self.unsent:
            self.stream.finish()

    def check(self) -> None:
        assert self.ended
        if not self.echoing:
            assert self.received.digest() == hashlib.sha256(self.expected).digest()


class Driver:
    """A session on a blocking socket, in one loop."""

    def __init__(self, connection: socket.socket, role: Role, settings: Settings) -> None:
        self.connection = connection
        self.session = Session(role, settings, self, 0.0)
        self.flows: list[Flow] = []
        self.output = bytearray()

    def on_stream(self, stream: Stream[Flow]) -> None:
        self.flows.append(Flow(stream, None))

    resets = resumes = False

    def on_ack(self, count: int) -> None: ...
    def on_ask(self) -> None: ...
    def on_bye(self) -> None: ...

    def on_reset(self, stream: Stream[Flow]) -> None:
        raise AssertionError(stream.id)

    def now(self) -> float:
        return time.monotonic()

    def on_refused(self, stream_id: int) -> None:
        raise AssertionError(stream_id)

    def open(self, data: bytes) -> None:
        self.flows.append(Flow(self.session.open(), data))

    def run(self) -> None:
        """Move bytes until every stream is closed by both sides and everything is sent."""
        self.connection.setblocking(False)
        while len(self.flows) < STREAMS or len(self.session) or self.output:
            self._fill()
            readers = [] if self.session.paused else [self.connection]
            writers = [self.connection] if self.output else []
            readable, writable, _ = select.select(readers, writers, [], PATIENCE)
            assert readable or writable, "both ends wait for each other"
            if readable:
                data = self.connection.recv(256 * 1024)
                assert data, "the peer closed the connection"
                self.session.feed(memoryview(data))
                self._fill()
            if writable:
                del self.output[: self.connection.send(self.output)]

    def _fill(self) -> None:
        """Frame the bytes that may be sent, a frame of each flow in turn."""
        moved = True
        while moved and len(self.output) < BACKLOG:
            moved = False
            for flow in self.flows:
                self.output += self.session.take_control()
                frame = flow.frame(self.session.settings.max_frame)
                self.output += frame
                moved = moved or bool(frame)
        self.output += self.session.take_control()


def settings_for(chance: random.Random, version: int) -> Settings:
    """Choose sizes. The session's buffer of version 2 holds the windows of all streams; see smuxpeer's config."""
    return Settings(
        version=version,
        max_frame=chance.choice([1000, 16384, 32768, 65535]),
        receive_buffer=1 << chance.randint(10, 22) if version == 1 else 1 << 22,
        stream_buffer=1 << chance.randint(10, 19),
        window_growth=0 if version == 1 else 1 << 22,
    )


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("role", [Role.CLIENT, Role.SERVER])
def test_sessions_with_the_real_library(peer: Path, role: Role, version: int, seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311  a failed run can be repeated; nothing secret here
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(PATIENCE)
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        peer_role = "server" if role is Role.CLIENT else "client"
        command = [str(peer), "-connect", address, "-role", peer_role, "-version", str(version)]
        command += ["-seed", str(seed), "-streams", str(STREAMS)]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            try:
                connection, _ = listener.accept()
                with connection:
                    driver = Driver(connection, role, settings_for(chance, version))
                    if role is Role.CLIENT:
                        for _ in range(STREAMS):
                            driver.open(chance.randbytes(chance.randint(1, 700_000)))
                    driver.run()
                _, errors = process.communicate(timeout=PATIENCE)
            finally:
                process.kill()
    assert (process.returncode, errors) == (0, "")
    for flow in driver.flows:
        flow.check()
    assert driver.session.growth.left == driver.session.settings.window_growth
    assert driver.session.room == driver.session.settings.receive_buffer + driver.session.growth.left

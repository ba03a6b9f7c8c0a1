"""Windows that grow with the capacity of line and reader, on a simulated line."""

from collections import deque

import pytest
from tests.wire.smux.ends import End, Pipe, updates

from backhaul.wire.smux import KNOWN_WINDOW, Role, Settings
from backhaul.wire.smux.window import INITIAL_WINDOW, Growth, ReceiveWindow

BASE, POOL = 65536, 4194304  # bytes: the defaults of the program
STEP = 0.005  # seconds


def settings(*, base: int = BASE, pool: int = POOL) -> Settings:
    return Settings(version=2, stream_buffer=base, receive_buffer=pool, window_growth=pool)


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 0.0

    def read(self) -> float:
        return self.now


class Line:
    """Two ends, ``delay`` seconds apart; the near one sends as much as it may, up to ``rate`` bytes per second."""

    def __init__(self, rate: float, delay: float, *, far: Settings | None = None, reading: bool = True) -> None:
        self.near = End(Role.CLIENT, Settings(version=2))
        self.far = End(Role.SERVER, far or settings(), at_once=reading)
        self.pipe = self.near.open()
        self.windows: list[int] = []  # announced
        self.arrived = 0
        self._rate = rate
        self._delay = delay
        self._waiting = bytearray()  # before the line
        self._there: deque[tuple[float, bytes]] = deque()
        self._back: deque[tuple[float, bytes]] = deque()

    @property
    def sink(self) -> Pipe:
        """Return the application of the far end."""
        return self.far.pipes[0]

    def run(self, seconds: float, *, message: int = 1 << 18, pause: float = 0.0) -> None:
        """Let time pass; the near application writes a message when the previous one has left and a pause is over."""
        end, next_message = self.near.time + seconds, self.near.time
        while self.near.time < end:
            now = self.near.time = self.far.time = self.near.time + STEP
            if not self.pipe.unsent and now >= next_message:
                self.pipe.write(bytes(message))
                next_message = now + pause
            self._carry(now)

    def _carry(self, now: float) -> None:
        self._waiting += self.near.take()
        passing = self._waiting[: int(self._rate * STEP)]
        del self._waiting[: len(passing)]
        self._there.append((now + self._delay, bytes(passing)))
        while self._there and self._there[0][0] <= now:
            piece = self._there.popleft()[1]
            self.arrived += len(piece)
            self.far.feed(piece)
        answer = self.far.take()
        self.windows += [window for _, _, window in updates(answer)]
        self._back.append((now + self._delay, answer))
        while self._back and self._back[0][0] <= now:
            self.near.feed(self._back.popleft()[1])


@pytest.mark.parametrize(("rate", "delay"), [(6e6, 0.1), (12e6, 0.05), (3e6, 0.3)])
def test_the_window_grows_until_it_no_longer_throttles(rate: float, delay: float) -> None:
    line = Line(rate, delay)
    line.run(30 * delay)
    assert 2 * delay * rate < max(line.windows) <= BASE + POOL
    before = line.arrived
    line.run(1)
    assert line.arrived - before > 0.8 * rate


def test_a_known_window_is_announced_at_its_half_and_grows_like_others() -> None:
    line = Line(1e6, 0.1, far=settings(base=KNOWN_WINDOW))
    line.run(0.2)
    assert not line.windows
    assert 0 < line.arrived < KNOWN_WINDOW // 2
    line.run(0.2)
    assert set(line.windows) == {KNOWN_WINDOW}
    fast = Line(1e7, 0.1, far=settings(base=KNOWN_WINDOW))
    fast.run(10.0)
    assert max(fast.windows) > 1e6


def test_a_window_as_large_as_the_initial_one_does_not_shrink() -> None:
    line = Line(1e6, 0.01)
    line.run(0.2)
    assert min(line.windows) >= INITIAL_WINDOW


def test_a_sender_slower_than_the_window_allows_gets_no_larger_one() -> None:
    line = Line(1e6, 0.05)
    line.run(3)
    assert max(line.windows) <= INITIAL_WINDOW + 1


@pytest.mark.parametrize("message", [1024, 32768, 131072])
def test_messages_that_end_at_the_limit_are_no_reason_to_grow(message: int) -> None:
    line = Line(1e8, 0.01)
    line.run(4, message=message, pause=0.04)
    assert max(line.windows) <= INITIAL_WINDOW + 1


def test_a_window_does_not_grow_without_a_reader() -> None:
    line = Line(12e6, 0.05, reading=False)
    line.run(0.2)
    while line.sink.read(1 << 15):
        pass
    line.run(3)
    assert max(line.windows) <= INITIAL_WINDOW + 1
    assert sum(map(len, line.sink.unread)) <= INITIAL_WINDOW + 1


@pytest.mark.parametrize(
    ("reached", "more", "grows"),
    [
        (0.1, 0.2, True),
        (0.1, 0.11, False),  # hardly any time is lost
        (1.0, 3.0, False),  # so few bytes a second need no larger window
    ],
)
def test_a_window_grows_when_the_peer_stops_at_its_end(reached: float, more: float, *, grows: bool) -> None:
    clock = Clock()
    window = ReceiveWindow(BASE, Growth(POOL, clock.read))
    window.take(1, 0)
    size = window.size
    rest = window.report() + size - 1
    clock.now = reached
    window.take(rest, 0)
    window.report()
    clock.now = more
    assert window.take(1, 0) is grows  # a larger window is announced at once
    assert window.size == (2 * size - 1 if grows else size)


class Halves:
    """A window of which each half has been reported, so that the peer has two limits before it."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.growth = Growth(POOL, self.clock.read)
        self.window = ReceiveWindow(BASE, self.growth)
        self.window.take(1, 0)
        self.size = self.window.size
        self.first = self.size  # bytes that are not taken yet, up to the first limit
        self.window.report()
        self.take(self.size // 2)
        self.window.report()
        self.second = self.size // 2  # bytes from there to the second limit

    def take(self, count: int) -> None:
        """Take bytes that arrive a moment later."""
        self.clock.now += 0.1
        self.window.take(count, 0)
        self.first -= count


def test_a_window_grows_when_the_peer_stops_at_a_later_end() -> None:
    halves = Halves()
    halves.take(halves.first + halves.second)
    halves.take(1)
    assert halves.window.size == 2 * halves.size - 1


def test_a_window_grows_once_for_the_limits_of_one_window() -> None:
    halves = Halves()
    halves.take(halves.first)
    halves.take(1)
    assert halves.window.size == 2 * halves.size - 1
    halves.take(halves.second - 1)
    halves.take(1)
    assert halves.window.size == 2 * halves.size - 1


def test_a_window_gives_its_growth_back_once_and_grows_no_more() -> None:
    halves = Halves()
    halves.take(halves.first)
    halves.take(1)
    for _ in range(2):
        halves.window.shrink()
        assert (halves.window.size, halves.growth.left) == (BASE, POOL)
    halves.window.report()
    halves.take(BASE)
    halves.take(1)
    assert (halves.window.size, halves.growth.left) == (BASE, POOL)


def throttled(clock: Clock, growth: Growth) -> int:
    """Return the window of a stream whose peer has run into its end again and again."""
    window = ReceiveWindow(BASE, growth)
    window.take(1, 0)
    for _ in range(40):
        window.report()
        clock.now += 0.1
        window.take(window.size, 0)
        window.report()
        clock.now += 0.1
        window.take(1, 0)
    return window.size


def test_one_stream_leaves_growth_for_the_next_ones() -> None:
    clock = Clock()
    growth = Growth(POOL, clock.read)
    first, second, third = (throttled(clock, growth) for _ in range(3))
    assert 2_900_000 < first <= BASE + POOL * 3 // 4
    assert second > 512 << 10
    assert third > 128 << 10
    assert growth.left > 0


@pytest.mark.parametrize("taken", [-1, 0])
def test_a_window_does_not_grow_when_the_peer_does_not_stop_there(taken: int) -> None:
    clock = Clock()
    window = ReceiveWindow(BASE, Growth(POOL, clock.read))
    window.take(1, 0)
    size = window.size
    rest = window.report() + size - 1
    clock.now = 0.1
    window.take(rest + taken, 1)
    window.report()
    clock.now = 0.2
    window.take(100, 0)
    assert window.size == size


def test_a_session_lends_its_growth_and_gets_it_back() -> None:
    pool = 1 << 20
    end = End(Role.SERVER, settings(pool=pool), at_once=True)
    peer = End(Role.CLIENT, Settings(version=2))
    pipes = [peer.open() for _ in range(8)]
    for _ in range(40):
        for pipe in pipes:
            pipe.write(bytes(1 << 17))
        end.time += 0.1
        end.feed(peer.take())
        answer = end.take()
        announced = {stream: window for stream, _, window in updates(answer)}
        peer.feed(answer)
        assert sum(window - BASE for window in announced.values()) <= pool
    assert end.session.growth.left < pool // 16
    for pipe in pipes[:4]:
        pipe.finish()
    for own in end.pipes[4:]:
        own.close()
    peer.feed(end.take())
    end.feed(peer.take())
    assert end.session.growth.left == pool


def test_an_ended_stream_keeps_its_growth_until_it_is_read() -> None:
    end, peer = End(Role.SERVER, settings()), End(Role.CLIENT, Settings(version=2))
    pipe = peer.open()
    pipe.write(b"bytes")
    end.feed(peer.take())
    own = end.pipes[0]
    own.read(1)
    pipe.finish()
    end.feed(peer.take())
    assert end.session.growth.left < POOL
    own.read(4)
    assert end.session.growth.left == POOL


def test_windows_stay_below_two_gigabytes() -> None:
    window = ReceiveWindow(2**31 - 1, Growth(POOL, lambda: 0.0))
    window.take(1, 0)
    assert window.size == 2**31 - 1

import errno
import logging

import pytest

from backhaul.errors import MEMORY_ADVICE
from backhaul.net.log_throttle import LogThrottle

LOGGER = logging.getLogger("backhaul.net.log_throttle-test")


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


def test_a_burst_is_one_line_and_a_count(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    throttle = LogThrottle(LOGGER, 10.0, clock=clock)
    for _ in range(38):
        throttle.warn("dial", "cannot dial: 100% refused")
    clock.now += 9.9
    throttle.warn("dial", "cannot dial")
    clock.now += 0.1
    throttle.warn("dial", "cannot dial")
    clock.now += 12
    throttle.warn("dial", "cannot dial")
    assert messages(caplog) == [
        "cannot dial: 100% refused",
        "cannot dial (and 38 more in the last 10 s)",
        "cannot dial",
    ]


def test_keys_are_counted_separately(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    throttle = LogThrottle(LOGGER, clock=clock)
    for key in ("a", "b", "a", "b"):
        throttle.warn(key, key)
    assert messages(caplog) == ["a", "b"]


def test_keys_beyond_the_bound_share_one(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    throttle = LogThrottle(LOGGER, 10.0, clock=clock, max_keys=2)
    for key in ("a", "b", "c", "d", "e", "a"):
        throttle.warn(key, key)
    clock.now += 10
    for key in ("f", "b"):  # f takes the place of a, whose interval is over
        throttle.warn(key, key)
    assert messages(caplog) == ["a", "b", "c", "f", "b"]


def test_the_bound_holds_with_endless_new_keys(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    throttle = LogThrottle(LOGGER, 10.0, clock=clock, max_keys=4)
    for number in range(1000):
        throttle.warn(number, "flood")
    assert len(messages(caplog)) == 5
    clock.now += 10
    for number in range(1000, 2000):
        throttle.warn(number, "flood")
    counts = [line for line in messages(caplog)[5:] if "more" in line]
    assert len(messages(caplog)) == 10
    assert counts == ["flood (and 995 more in the last 10 s)"]


def raised_by(error: Exception) -> Exception:
    try:
        raise error
    except type(error) as raised:
        return raised


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError(errno.ENOSPC, "epoll_ctl"), "the kernel watches no more sockets; raise fs.epoll.max_user_watches"),
        (OSError(errno.ENOMEM, "epoll_ctl"), f"out of memory; {MEMORY_ADVICE}"),
        (MemoryError(), f"out of memory; {MEMORY_ADVICE}"),
    ],
)
def test_a_lack_of_memory_is_no_internal_error(error: Exception, line: str, caplog: pytest.LogCaptureFixture) -> None:
    throttle = LogThrottle(LOGGER)
    for _ in range(2):
        throttle.fault("internal error", raised_by(error))
    (record,) = caplog.records
    assert record.getMessage() == f"connection closed: {line}"
    assert not record.exc_info


@pytest.mark.parametrize("error", [OSError(errno.EBADF, "epoll_ctl"), ValueError("a defect")])
def test_an_unexpected_exception_has_a_traceback(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    LogThrottle(LOGGER).fault("internal error", raised_by(error))
    (record,) = caplog.records
    assert record.getMessage() == "internal error"
    assert record.exc_info
    assert record.exc_info[1] is error

import logging
from collections.abc import Iterator

import pytest

from backhaul.monitor.events import KEPT_EVENTS, MAX_EVENT_TEXT, EventLog

LOGGER = logging.getLogger("backhaul")


@pytest.fixture
def kept() -> Iterator[EventLog]:
    handler = EventLog()
    LOGGER.addHandler(handler)
    level = LOGGER.level
    LOGGER.setLevel(logging.DEBUG)
    yield handler
    LOGGER.setLevel(level)
    LOGGER.removeHandler(handler)


def test_lines_of_the_whole_program_from_info_upwards_are_kept(kept: EventLog) -> None:
    LOGGER.debug("too much")
    logging.getLogger("backhaul.tunnel").info("port %d", 443)
    LOGGER.error("lost")
    assert [(event.level, event.text) for event in kept.events()] == [("info", "port 443"), ("error", "lost")]


def test_an_event_has_the_time_of_its_line(kept: EventLog) -> None:
    record = logging.makeLogRecord({"created": 1234.5, "msg": "then", "levelno": 20, "levelname": "INFO"})
    LOGGER.handle(record)
    assert kept.events()[0].time == 1234.5


def test_only_the_last_ones_are_kept(kept: EventLog) -> None:
    for number in range(KEPT_EVENTS + 5):
        LOGGER.info("%d", number)
    texts = [event.text for event in kept.events()]
    assert texts == [str(number) for number in range(5, KEPT_EVENTS + 5)]


def test_a_text_of_a_peer_stays_short_and_on_one_line(kept: EventLog) -> None:
    LOGGER.warning("path %s", "/\r\nfake\x1b[2J\ud800" + "x" * 10_000)
    text = kept.events()[0].text
    assert text.startswith(r"path /\r\nfake\x1b[2J\ud800xxx")
    assert len(text) == MAX_EVENT_TEXT
    text.encode()


def test_the_argument_is_not_kept_alive(kept: EventLog) -> None:
    mutable = ["before"]
    LOGGER.info("%s", mutable)
    mutable[0] = "after"
    assert kept.events()[0].text == "['before']"

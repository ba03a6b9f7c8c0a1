import io
import json
import logging
import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backhaul.system import log

LOGGER = logging.getLogger("backhaul")
TEXT_LINE = re.compile(r"\d\d-[A-Z][a-z]{2} \d\d:\d\d:\d\d \[([A-Z]+)\] (.*)\n")


@pytest.fixture(autouse=True)
def _restore() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in ("backhaul", "asyncio")]
    before = [(logger, logger.level, logger.handlers[:]) for logger in loggers]
    yield
    for logger, level, handlers in before:
        logger.setLevel(level)
        logger.handlers[:] = handlers


def written(message: object, log_format: str = "text", level: int = logging.INFO) -> str:
    stream = io.StringIO()
    log.configure("trace", log_format, stream)
    LOGGER.log(level, message)
    return stream.getvalue()


def test_a_text_line_has_date_level_and_message() -> None:
    match = TEXT_LINE.fullmatch(written("server started"))
    assert match
    assert match.groups() == ("INFO", "server started")


def test_a_json_line_has_time_level_and_message() -> None:
    before = datetime.now(UTC)
    line = written("server started", "json")
    fields = json.loads(line)
    assert line.endswith("}\n")
    moment = datetime.fromisoformat(fields.pop("time"))
    assert moment.tzinfo is not None
    assert abs((moment - before).total_seconds()) < 3600
    assert fields == {"level": "info", "message": "server started"}


@pytest.mark.parametrize(
    ("number", "name"),
    [
        (60, "PANIC"),
        (50, "FATAL"),
        (40, "ERROR"),
        (30, "WARNING"),
        (20, "INFO"),
        (10, "DEBUG"),
        (log.TRACE, "TRACE"),
    ],
)
def test_every_level_is_printed_as_in_v0_7_2(number: int, name: str) -> None:
    assert f"[{name}] " in written("x", level=number)
    assert json.loads(written("x", "json", level=number))["level"] == name.lower()


@pytest.mark.parametrize(
    ("level", "shown"),
    [
        ("panic", [60]),
        ("fatal", [60, 50]),
        ("error", [60, 50, 40]),
        ("warn", [60, 50, 40, 30]),
        ("Warning", [60, 50, 40, 30]),
        ("info", [60, 50, 40, 30, 20]),
        ("DEBUG", [60, 50, 40, 30, 20, 10]),
        ("trace", [60, 50, 40, 30, 20, 10, 5]),
    ],
)
def test_a_level_shows_itself_and_higher_ones(level: str, shown: list[int]) -> None:
    stream = io.StringIO()
    log.configure(level, "text", stream)
    for number in (60, 50, 40, 30, 20, 10, 5):
        LOGGER.log(number, "%d", number)
    assert [int(line.rpartition(" ")[2]) for line in stream.getvalue().splitlines()] == shown


def test_child_loggers_and_asyncio_share_the_format() -> None:
    stream = io.StringIO()
    log.configure("info", "text", stream)
    logging.getLogger("backhaul.tunnel").info("one")
    logging.getLogger("asyncio").error("two")
    levels = [match[1] for match in TEXT_LINE.finditer(stream.getvalue())]
    assert levels == ["INFO", "ERROR"]


def test_configuring_again_changes_level_format_and_stream_without_doubling_lines() -> None:
    first, second = io.StringIO(), io.StringIO()
    log.configure("debug", "text", first)
    log.configure("error", "json", second)
    LOGGER.warning("unseen")
    LOGGER.error("seen")
    assert first.getvalue() == ""
    assert [json.loads(line)["message"] for line in second.getvalue().splitlines()] == ["seen"]


@pytest.mark.parametrize(
    ("level", "log_format", "key"), [("loud", "text", "log_level"), ("info", "xml\n", "log_format")]
)
def test_a_wrong_value_is_refused_and_the_log_stays_as_it_was(level: str, log_format: str, key: str) -> None:
    stream = io.StringIO()
    log.configure("info", "text", stream)
    with pytest.raises(ValueError, match=rf"^{key}: ") as caught:
        log.configure(level, log_format, io.StringIO())
    assert "\n" not in str(caught.value)
    LOGGER.info("still here")
    assert stream.getvalue().endswith("[INFO] still here\n")


def test_hostile_bytes_cannot_forge_a_line_or_move_the_cursor() -> None:
    line = written("bad token: a\r\n22-Nov 12:41:07 [INFO] all fine\x1b[2J\x85\u2028\u202e\ud800é")
    assert line.endswith(r"bad token: a\r\n22-Nov 12:41:07 [INFO] all fine\x1b[2J\x85\u2028\u202e\ud800é" + "\n")


@given(st.text(st.characters(exclude_categories=[])))
def test_one_record_is_one_line(message: str) -> None:
    for log_format in ("text", "json"):
        line = written("%s" if message == "%s" else message, log_format)
        assert len(line.splitlines()) == 1
        assert "\x1b" not in line
        line.encode()


@given(st.text(st.characters(exclude_categories=["Cc", "Cf", "Cs", "Zl", "Zp"])))
def test_printable_text_is_left_alone(text: str) -> None:
    assert log.escape(text) == text


def test_an_exception_is_indented_in_text_and_a_field_in_json() -> None:
    for log_format in ("text", "json"):
        stream = io.StringIO()
        log.configure("info", log_format, stream)
        try:
            int("one\n22-Nov 12:41:07 [INFO] two\x1b")
        except ValueError:
            LOGGER.exception("lost")
        first, *rest = stream.getvalue().splitlines()
        if log_format == "text":
            assert first.endswith("[ERROR] lost")
            assert rest
            assert all(line.startswith("    ") for line in rest)
        else:
            assert not rest
            assert json.loads(first)["traceback"].startswith("Traceback")


def read_terminal(environment: dict[str, str]) -> bytes:
    """Return the output of a program that logs one warning to a terminal."""
    script = "import logging; from backhaul.system import log\nlog.configure('info', 'text')\n"
    script += "logging.getLogger('backhaul').warning('careful')"
    controller, terminal = pty.openpty()
    try:
        subprocess.run([sys.executable, "-c", script], stdout=terminal, check=True, env=environment)
        return os.read(controller, 4096)
    finally:
        os.close(terminal)
        os.close(controller)


def child_environment(**extra: str) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "PYTHONUNBUFFERED")}
    return kept | {"PYTHONPATH": os.pathsep.join(sys.path)} | extra


def test_the_level_is_coloured_on_a_terminal() -> None:
    assert b"[\x1b[33mWARNING\x1b[0m] careful" in read_terminal(child_environment())


def test_no_color_is_respected() -> None:
    assert b"[WARNING] careful" in read_terminal(child_environment(NO_COLOR="1"))


LINES = "for number in range(3): logging.getLogger('backhaul').info(number)\n"
START = "import logging; from backhaul.system import log\nlog.configure('info', 'text')\n"


def run(redirection: str, script: str) -> subprocess.CompletedProcess[str]:
    command = ["sh", "-c", f'exec "$0" -c "$1" {redirection}', sys.executable, START + script]
    return subprocess.run(command, capture_output=True, text=True, env=child_environment(), check=False)


@pytest.mark.parametrize("redirection", [">/dev/full 2>/dev/full", ">&- 2>&-", ">&- 2>/dev/full"])
def test_the_program_survives_a_log_that_cannot_be_written(redirection: str, tmp_path: Path) -> None:
    run(redirection, LINES + f"open('{tmp_path}/alive', 'w')")
    assert (tmp_path / "alive").exists()


def test_lines_go_to_standard_output_as_in_v0_7_2() -> None:
    done = run("", LINES)
    assert [line[-1] for line in done.stdout.splitlines()] == ["0", "1", "2"]
    assert not done.stderr
    assert done.returncode == 0


@pytest.mark.parametrize("redirection", [">&-", "| true"])
def test_lines_go_to_standard_error_without_standard_output(redirection: str) -> None:
    wait = "import select; poll = select.poll(); poll.register(1, 0); poll.poll()\n" if "|" in redirection else ""
    done = run(redirection, wait + LINES)
    assert [line[-1] for line in done.stderr.splitlines()] == ["0", "1", "2"]
    assert not done.stdout


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_characters_outside_the_encoding_are_escaped(encoding: str) -> None:
    script = "logging.getLogger('backhaul').info('caf\\u00e9')"
    command = [sys.executable, "-c", START + script]
    done = subprocess.run(command, capture_output=True, env=child_environment(PYTHONIOENCODING=encoding), check=True)
    assert done.stdout.rstrip().endswith(b"caf\\xe9" if encoding == "ascii" else "caf\u00e9".encode())

"""Priorities of log lines that the journal of systemd reads, which a file and other pipes do not get."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

LOG = """\
import logging
from backhaul.system import log
log.configure("trace", "FORMAT")
logger = logging.getLogger("backhaul")
for level in (60, 50, 40, 30, 20, 10, log.TRACE):
    logger.log(level, "at %d", level)
try:
    int("one")
except ValueError:
    logger.exception("lost")
"""
PRIORITIES = ["<2>", "<2>", "<3>", "<4>", "<6>", "<7>", "<7>"]


def run(command: list[str], file: Path, *, journal: bool) -> list[str]:
    """Run a program whose output goes to a file, as the journal or not; return its lines."""
    with file.open("w") as output:
        found = os.fstat(output.fileno())
        stream = f"{found.st_dev}:{found.st_ino if journal else found.st_ino + 1}"
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "JOURNAL_STREAM": stream}
        subprocess.run(
            [sys.executable, *command], stdout=output, stderr=subprocess.STDOUT, check=False, env=environment
        )
    return file.read_text().splitlines()


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_each_line_for_the_journal_begins_with_its_priority(log_format: str, tmp_path: Path) -> None:
    lines = run(["-c", LOG.replace("FORMAT", log_format)], tmp_path / "out", journal=True)
    assert [line[:3] for line in lines[:7]] == PRIORITIES
    assert lines[7:]
    assert all(line.startswith("<3>") for line in lines[7:])  # the lines of a traceback, too


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_other_readers_get_the_same_lines_without_priorities(log_format: str, tmp_path: Path) -> None:
    lines = run(["-c", LOG.replace("FORMAT", log_format)], tmp_path / "out", journal=False)
    assert len(lines) > 7
    assert not [line for line in lines if line.startswith("<")]


@pytest.mark.parametrize(("journal", "start"), [(True, "<3>"), (False, "")])
def test_a_mistake_in_the_configuration_is_an_error_in_the_journal(
    journal: bool,  # noqa: FBT001 - a parameter of the test
    start: str,
    tmp_path: Path,
) -> None:
    config = tmp_path / "server.toml"
    config.write_text('[server]\ntransport = "tpc"\n')
    lines = run(["-m", "backhaul", "-c", str(config)], tmp_path / "out", journal=journal)
    assert lines
    assert all(line.startswith(f"{start}{config}: ") for line in lines)

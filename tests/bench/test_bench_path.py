"""The path of one connection: what strace and the counter report, and the table of both."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from bench.loads.calls import Calls
from bench.options import parse_arguments
from bench.report import path, render
from bench.report.path import BUILT_IN
from bench.report.results import PATH, Run, Sample, path_route
from bench.scenarios.path import system_calls

SUMMARY = """\
% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 52.07    0.000113           5        20         8 accept4
 47.93    0.000104           5        18           epoll_wait
------ ----------- ----------- --------- --------- ----------------
100.00    0.000217           5        38         8 total
"""


def called() -> None:
    len("")


class Caller:
    def method(self) -> None:
        called()


def test_summary_of_strace_with_and_without_errors() -> None:
    assert system_calls(SUMMARY) == {"accept4": 20, "epoll_wait": 18}


@pytest.fixture
def counter(tmp_path: Path) -> Iterator[Calls]:
    yield Calls(tmp_path / "1.calls")
    sys.setprofile(None)


def test_calls_between_start_and_stop_are_counted_by_name(counter: Calls, tmp_path: Path) -> None:
    called()
    counter.start()
    assert (tmp_path / "1.calls").read_text() == ""
    Caller().method()
    called()
    counter.stop()
    called()
    found = json.loads((tmp_path / "1.calls").read_text())
    assert found[f"{__name__}:called"] == 2
    assert found[f"{__name__}:Caller.method"] == 1
    assert found[BUILT_IN] >= 2


def test_a_second_start_counts_from_zero(counter: Calls, tmp_path: Path) -> None:
    counter.start()
    called()
    counter.start()
    Caller().method()
    counter.stop()
    assert json.loads((tmp_path / "1.calls").read_text())[f"{__name__}:called"] == 1


def run_of(**server: float) -> Run:
    run = Run("2026-01-01", {"users": "50", "revision": "abc"}, ["tcp"], 1, 0.02, scenario=PATH)
    for kind, end, calls in [
        ("system calls", "server", server),
        ("system calls", "client", {"connect": 4.0}),
        ("functions", "server", {"a:b": 1.5, "a:c": 0.25, "a:d": 0.04, BUILT_IN: 9.0}),
    ]:
        run.samples.append(Sample(path_route("tcp", kind, end), 1, 0.0, kept=True, values=calls))
    return run


def test_table_of_both_ends() -> None:
    written = render.markdown(run_of(accept4=2.0, madvise=0.02))
    assert "| system calls | tcp server | tcp client |\n" in written
    assert "| all | 2.0 | 4.0 |\n| `connect` | - | 4.0 |\n| `accept4` | 2.0 | - |\n\n" in written
    assert "| all | 1.8 | - |\n| `(functions in C)` | 9.0 | - |\n| `a` | 1.8 | - |\n\n" in written
    assert "| `a:b` | 1.5 | - |\n| `a:c` | 0.2 | - |\n" in written
    assert "50 users came one after the other" in written


def test_rare_functions_are_left_out() -> None:
    assert "`a:d`" not in path.markdown(run_of())


def test_table_beside_an_earlier_run() -> None:
    written = path.markdown(run_of(accept4=1.0, recv=2.0), run_of(accept4=2.0, close=1.0))
    assert "| all | 3.0 | 4.0 |" in written
    assert "| `accept4` | 2.0 → 1.0 | - |" in written
    assert "| `recv` | - → 2.0 | - |" in written
    assert "| `close` | 1.0 → - | - |" in written
    assert "- before: abc, 2026-01-01" in written


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [(["--path", "--before", "/nowhere"], "no file /nowhere"), (["--before", __file__], "only with --path")],
)
def test_an_earlier_run_is_looked_for_before_the_measurement(
    arguments: list[str], problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parse_arguments(arguments)
    assert problem in capsys.readouterr().err

import os
import re
import secrets
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tests.support.net import PATIENCE

from backhaul.cli import demo

# SIGHUP has its default action, as for programs of a terminal, even if the tests run under nohup.
RUN = """
import signal, sys
from backhaul.cli.demo import run
signal.signal(signal.SIGHUP, signal.SIG_DFL)
sys.executable = sys.argv[1]
sys.exit(run(once={once}))
"""


class Stage:
    """Runs the demo with a temporary directory and an environment in which its leftovers can be found."""

    def __init__(self, folder: Path) -> None:
        self.temporary = folder / "temporary"
        self.temporary.mkdir()
        self._mark = f"BACKHAUL_TEST_MARK={secrets.token_hex(16)}"

    @contextmanager
    def playing(self, *, once: bool, program: str = sys.executable) -> Iterator[subprocess.Popen[str]]:
        name, _, value = self._mark.partition("=")
        environment = os.environ | {"TMPDIR": str(self.temporary), name: value}
        environment["PYTHONPATH"] = os.pathsep.join(sys.path)
        command = [sys.executable, "-c", RUN.format(once=once), program]
        pipe = subprocess.PIPE
        with subprocess.Popen(command, env=environment, stdout=pipe, stderr=pipe, text=True) as process:
            try:
                yield process
            finally:
                process.kill()

    def leftovers(self) -> list[str]:
        """Return the demo's remaining processes and files."""
        files = [str(path) for path in self.temporary.rglob("*")]
        return files + [str(pid) for pid in self.processes()]

    def processes(self) -> list[int]:
        return [int(entry.name) for entry in Path("/proc").glob("[0-9]*") if self._is_marked(entry)]

    def _is_marked(self, entry: Path) -> bool:
        try:
            return self._mark.encode() in (entry / "environ").read_bytes().split(b"\0")
        except OSError:  # of another user, or ended meanwhile
            return False


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


def read_until(process: subprocess.Popen[str], wanted: str) -> str:
    """Return the line of the demo's output that contains ``wanted``."""
    assert process.stdout
    for line in process.stdout:
        if wanted in line:
            return line
    raise AssertionError(f"the demo ended without saying {wanted!r}")


def test_once_passes_and_leaves_nothing_behind(stage: Stage) -> None:
    with stage.playing(once=True) as process:
        output, errors = process.communicate()
    assert errors == ""
    assert "fetched the page through the tunnel" in output
    assert "fetched 100 MB" in output
    assert output.endswith("All passed.\n")
    assert process.returncode == 0
    assert stage.leftovers() == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_it_stays_up_until_a_signal(stage: Stage, number: signal.Signals) -> None:
    with stage.playing(once=False) as process:
        line = read_until(process, "in a browser")
        port = int(line.rstrip().rstrip("/").rpartition(":")[2])
        for path, status in (("/", 200), ("/100MB", 200), ("/nothing", 404)):
            with closing(HTTPConnection("127.0.0.1", port, timeout=10)) as visitor:
                visitor.request("GET", path)
                assert visitor.getresponse().status == status
        process.send_signal(number)
        output, errors = process.communicate()
    assert output.endswith("\nStopped.\n")
    assert errors == ""
    assert process.returncode == 0
    assert stage.leftovers() == []


def test_the_end_of_server_or_client_is_reported(stage: Stage) -> None:
    with stage.playing(once=False) as process:
        read_until(process, "in a browser")
        children = [pid for pid in stage.processes() if pid != process.pid]
        assert len(children) == 2
        os.kill(children[0], signal.SIGKILL)
        output, errors = process.communicate()
    assert "FAILED: the " in output
    assert "ended by itself" in output
    assert errors == ""
    assert process.returncode == 1
    assert stage.leftovers() == []


def test_server_and_client_end_with_a_demo_that_is_killed(stage: Stage) -> None:
    with stage.playing(once=False) as process:
        read_until(process, "in a browser")
        children = [os.pidfd_open(pid) for pid in stage.processes() if pid != process.pid]
    try:
        assert len(children) == 2
        for child in children:
            assert select.select([child], [], [], PATIENCE)[0], "it lives on"
    finally:
        for child in children:
            os.close(child)


def script(folder: Path, *lines: str) -> str:
    path = folder / "program"
    path.write_text("\n".join(["#!/bin/sh", *lines]) + "\n")
    path.chmod(0o755)
    return str(path)


def test_a_program_that_cannot_start_is_named_with_its_last_words(stage: Stage, tmp_path: Path) -> None:
    program = script(tmp_path, "echo this machine has no ports left >&2", "exit 3")
    with stage.playing(once=True, program=program) as process:
        output, errors = process.communicate()
    assert "  this machine has no ports left\n" in output
    last = output.splitlines()[-1]
    assert re.fullmatch(r"FAILED: the (server|client) ended by itself \(exit status 3\)", last)
    assert errors == ""
    assert process.returncode == 1
    assert stage.leftovers() == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_before_the_tunnel_is_up_is_a_failure(stage: Stage, tmp_path: Path, number: signal.Signals) -> None:
    program = script(tmp_path, "exec sleep 1000")
    with stage.playing(once=False, program=program) as process:
        read_until(process, "3. client")
        process.send_signal(number)
        output, errors = process.communicate()
    assert "FAILED" not in output
    assert errors == ""
    assert process.returncode == 1
    assert stage.leftovers() == []


class AlteringService(BaseHTTPRequestHandler):
    """The file as the demo makes it, but with two blocks swapped, or without its end."""

    def do_GET(self) -> None:
        blocks = list(demo.file_blocks())
        if self.path.endswith("swapped"):
            blocks[3], blocks[4] = blocks[4], blocks[3]
        elif self.path.endswith("short"):
            blocks.pop()
        self.send_response(200)
        self.end_headers()
        for block in blocks:
            self.wfile.write(block)

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.parametrize("fault", ["swapped", "short", ""])
def test_an_altered_file_is_noticed(fault: str) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), AlteringService) as service:
        thread = threading.Thread(target=service.serve_forever)
        thread.start()
        try:
            if fault:
                with pytest.raises(demo.DemoError, match="checksum"):
                    demo.fetch_file(service.server_port, f"/{fault}")
            else:
                assert demo.fetch_file(service.server_port, f"/{fault}") > 0
        finally:
            service.shutdown()
            thread.join()

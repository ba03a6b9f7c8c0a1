"""Hot reload of the running program: what changes, what stays, and that a broken file changes nothing."""

import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from tests.support.net import HOST, free_port

_PATIENCE = 20.0  # seconds


class _Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"hello")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name of the base class
        pass


@pytest.fixture
def page() -> Iterator[int]:
    server = ThreadingHTTPServer((HOST, 0), _Page)
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    thread.join()
    server.server_close()


class _Program:
    def __init__(self, folder: Path, side: str) -> None:
        self.file = folder / f"{side}.toml"
        self.log = folder / f"{side}.log"

    def start(self, text: str, stack: ExitStack) -> None:
        self.file.write_text(text)
        out = stack.enter_context(self.log.open("w"))
        self.process = subprocess.Popen([sys.executable, "-m", "backhaul", "-c", self.file], stderr=out)
        stack.callback(self._stop)

    def rewrite(self, old: str, new: str) -> None:
        self.file.write_text(self.file.read_text().replace(old, new))

    def said(self, text: str) -> None:
        """Wait until the log has `text`."""
        _until(lambda: text in self.log.read_text(), f"{text!r} in {self.log.read_text()}")

    def _stop(self) -> None:
        self.process.terminate()
        assert self.process.wait(_PATIENCE) == 0


def _until(holds: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + _PATIENCE
    while not holds():
        if time.monotonic() > end:
            raise AssertionError(f"never: {what}")
        time.sleep(0.05)  # the program runs elsewhere: its log is all there is to look at


def _fetch(port: int) -> bytes:
    with urllib.request.urlopen(f"http://{HOST}:{port}/", timeout=_PATIENCE) as answer:
        body: bytes = answer.read()
    return body


@pytest.mark.timeout(120)
def test_a_file_that_changes_under_a_running_tunnel(tmp_path: Path, page: int) -> None:
    bind, first, second = free_port(), free_port(), free_port()
    common = 'transport = "tcpmux"\ntoken = "one"\nskip_optz = true\n'
    mapping = f'"{HOST}:{first}={HOST}:{page}"'
    with ExitStack() as stack:
        server, client = _Program(tmp_path, "server"), _Program(tmp_path, "client")
        server.start(f'[server]\nbind_addr = "{HOST}:{bind}"\n{common}ports = [{mapping}]\n', stack)
        server.said("listens on")
        client.start(f'[client]\nremote_addr = "{HOST}:{bind}"\nretry_interval = 1\n{common}', stack)
        client.said("tunnel is up")
        assert _fetch(first) == b"hello"

        server.rewrite(mapping, f'{mapping}, "{HOST}:{second}={HOST}:{page}"')
        server.said("ports: 1 added")
        assert _fetch(second) == b"hello"

        server.rewrite("token", "tokn")
        server.said("the old configuration runs on")
        assert "did you mean `token`" in server.log.read_text()
        assert _fetch(first) == b"hello"

        server.rewrite("tokn", "token")
        server.rewrite('"one"', '"two"')
        server.said("keys: token")
        client.rewrite('"one"', '"two"')
        client.process.send_signal(signal.SIGHUP)
        client.said("keys: token")
        _until(lambda: client.log.read_text().count("tunnel is up") > 1, "the client is back")
        assert _fetch(second) == b"hello"

        server.rewrite(f'{mapping}, "', '"')
        server.said("ports: 1 removed")
        assert _fetch(second) == b"hello"
        with pytest.raises(OSError, match="refused"):
            _fetch(first)
    assert "one" not in server.log.read_text().split()

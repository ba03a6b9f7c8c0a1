"""The command ``backhaul demo``: runs a server, a client and a small web service on this machine, and tries them."""

import contextlib
import fcntl
import hashlib
import os
import secrets
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPResponse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import FrameType
from typing import Final

from backhaul.errors import BackhaulError
from backhaul.system.program import command as own_command

_HOST: Final = "127.0.0.1"
_FILE: Final = "/100MB"
_BLOCK: Final = 1_000_000  # bytes
_BLOCKS: Final = 100
_START_LIMIT: Final = 60.0  # seconds for both ends to find each other; one is usual, a busy small board takes 20
_FETCH_LIMIT: Final = 30.0  # seconds without a byte until a fetch fails
_STOP_LIMIT: Final = 10.0  # seconds; the configurations below ask for one
_RETRY_PAUSE: Final = 0.1  # seconds
_F_SETSIG: Final = 10  # of Linux, missing in the module fcntl
_LOG_TAIL: Final = 10  # lines of each log to show after a failure

_PAGE: Final = b"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Backhaul demo</title>
<h1>It works</h1>
<p>This page came through the tunnel. So does <a href="/100MB">a file of 100 MB</a>.</p>
</html>
"""

_SERVER_TOML: Final = """\
[server]
bind_addr = "{host}:{tunnel}"
transport = "tcp"
token = "{token}"
security = "required"
skip_optz = true  # leave this machine's kernel settings alone
shutdown_timeout = 1  # second for visitors in flight; this is only a demo
ports = ["{host}:{public}={host}:{service}"]
"""

_CLIENT_TOML: Final = """\
[client]
remote_addr = "{host}:{tunnel}"
transport = "tcp"
token = "{token}"
security = "required"
skip_optz = true
shutdown_timeout = 1
retry_interval = 1  # second, in case the client starts before the server
"""

_INTRODUCTION: Final = """\
Backhaul demo: a private web service, published through a tunnel.
Everything stays on this machine, between ports of {host}.

  1. web service  on {host}:{service}; imagine it behind NAT or a firewall
  2. server       waits for the client on {host}:{tunnel}, publishes {host}:{public}
  3. client       calls the server and connects {host}:{public} to the web service
"""

_INVITATION: Final = """
All passed. Your turn, until you press Ctrl-C:
  in a browser    http://{host}:{public}/
  in a terminal   curl -o /dev/null http://{host}:{public}/100MB
  to read         {folder}/server.toml and client.toml, server.log and client.log"""


_Handler = Callable[[int, FrameType | None], object]


class DemoError(BackhaulError):
    """A failed step, named with its reason in one line."""


def run(*, once: bool) -> int:
    """Run the demo and print each step; return 0 if everything passed, otherwise 1.

    With ``once`` the demo ends by itself, otherwise on SIGINT, SIGTERM or SIGHUP. It handles these signals, so it must
    run in the main thread. When it returns or raises, its processes have ended and its temporary directory is gone.
    """
    passed = False
    try:
        with _signals(signal.default_int_handler), _cleanup() as stack:
            demo = _Demo(stack)
            demo.try_out()
            passed = True
            if once:
                _print("\nAll passed.")
            else:
                demo.stay_up()
    except DemoError as error:
        _print(f"\nFAILED: {error}")
        return 1
    except KeyboardInterrupt:
        _print("\nStopped.")
    return 0 if passed else 1


class _Demo:
    """A web service, a server and a client, started in this order and owned by ``stack``."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        self._folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="backhaul-demo-")))
        stack.push(self._show_logs)
        tunnel, self._public = _free_ports(2)
        self._names = {
            "host": _HOST,
            "tunnel": tunnel,
            "public": self._public,
            "service": stack.enter_context(_service()),
            "token": secrets.token_hex(16),
            "folder": self._folder,
        }
        _print(_INTRODUCTION.format_map(self._names))
        self._programs = {
            "server": self._launch(stack, "server", _SERVER_TOML),
            "client": self._launch(stack, "client", _CLIENT_TOML),
        }

    def _launch(self, stack: contextlib.ExitStack, name: str, template: str) -> subprocess.Popen[bytes]:
        config = self._folder / f"{name}.toml"
        config.write_text(template.format_map(self._names))
        with _held_signals():  # a signal between its start and its entry in the stack would leave it running
            return stack.enter_context(_program(config))

    def try_out(self) -> None:
        """Fetch the page and the file through the tunnel; raise ``DemoError`` unless both arrive intact."""
        if self._first_page() != _PAGE:
            raise DemoError("the tunnel altered the page")
        _print(f"  ok  fetched the page through the tunnel ({len(_PAGE)} bytes)")
        seconds = fetch_file(self._public)
        size = _BLOCKS * _BLOCK
        speed = f"{size / seconds / 1e6:.0f} MB/s, {size * 8 / seconds / 1e9:.1f} Gbit/s"
        _print(f"  ok  fetched {size / 1e6:.0f} MB in {seconds:.2f} s ({speed}); the SHA-256 checksum is right")

    def _first_page(self) -> bytes:
        """Return the page; retry until server and client are connected."""
        deadline = time.monotonic() + _START_LIMIT
        while True:
            self._check_programs()
            try:
                with _get(self._public, "/", timeout=_START_LIMIT) as response:
                    return response.read()
            except (OSError, HTTPException) as error:
                if time.monotonic() > deadline:
                    raise DemoError(f"no page through the tunnel in {_START_LIMIT:.0f} s: {error}") from error
            time.sleep(_RETRY_PAUSE)

    def stay_up(self) -> None:
        """Wait for a signal; raise ``DemoError`` if server or client ends first."""
        _print(_INVITATION.format_map(self._names))
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
        self._check_programs()

    def _check_programs(self) -> None:
        for name, process in self._programs.items():
            if process.poll() is not None:
                raise DemoError(f"the {name} ended by itself (exit status {process.returncode})")

    def _show_logs(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not DemoError:
            return
        for log in sorted(self._folder.glob("*.log")):
            _print(f"\nThe last lines of {log.name}:")
            for line in log.read_text(errors="replace").splitlines()[-_LOG_TAIL:]:
                _print(f"  {line}")


def _print(text: str) -> None:
    print(text, flush=True)


def _free_ports(count: int) -> list[int]:
    """Return distinct TCP ports that were free a moment ago."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server((_HOST, 0))) for _ in range(count)]
        return [free.getsockname()[1] for free in sockets]


@contextlib.contextmanager
def _program(config: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run this program with ``config``, logging to a .log file beside it, until the context or this process ends.

    Raises ``DemoError`` at the end if the program had to be killed.
    """
    command = [*own_command(), "-c", str(config)]
    with config.with_suffix(".log").open("wb") as log, _leash() as loose:
        process = subprocess.Popen(  # noqa: S603 - a fixed command
            command, stdin=loose, stdout=log, stderr=subprocess.STDOUT
        )
        _fasten(loose, process.pid)
        os.close(loose)
        try:
            yield process
        finally:
            _stop(process, config.stem)


@contextlib.contextmanager
def _leash() -> Iterator[int]:
    """Yield one end of a pipe; this process alone holds the other, so that the pipe breaks when it ends."""
    loose, held = os.pipe()
    try:
        yield loose
    finally:
        os.close(held)


def _fasten(loose: int, pid: int) -> None:
    """Let the kernel send SIGTERM to ``pid`` when the pipe breaks (fcntl(2), F_SETSIG)."""
    fcntl.fcntl(loose, fcntl.F_SETOWN, pid)
    fcntl.fcntl(loose, _F_SETSIG, signal.SIGTERM)
    fcntl.fcntl(loose, fcntl.F_SETFL, fcntl.fcntl(loose, fcntl.F_GETFL) | fcntl.FASYNC)


def _stop(process: subprocess.Popen[bytes], name: str) -> None:
    process.terminate()
    try:
        process.wait(_STOP_LIMIT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise DemoError(f"the {name} did not stop in {_STOP_LIMIT:.0f} s and was killed") from None


# --- Signals: an interrupt ends the demo at any point except during the start of a process and the cleanup.


@contextlib.contextmanager
def _signals(handler: _Handler) -> Iterator[None]:
    """Call ``handler`` on the signals that end the demo; SIGHUP stays ignored under nohup."""
    numbers = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        numbers.remove(signal.SIGHUP)
    previous = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, old in previous.items():
            signal.signal(number, old)


@contextlib.contextmanager
def _held_signals() -> Iterator[None]:
    """Defer interrupts until the context ends."""
    held: list[int] = []
    with _signals(lambda number, _frame: held.append(number)):
        yield
    if held:
        raise KeyboardInterrupt


@contextlib.contextmanager
def _cleanup() -> Iterator[contextlib.ExitStack]:
    """Yield an ``ExitStack`` that unwinds without interruption."""
    with contextlib.ExitStack() as ending, contextlib.ExitStack() as stack:
        try:
            yield stack
        finally:
            ending.enter_context(_held_signals())


# --- The web service, and its visitor on the other end of the tunnel.


class _Pages(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        """Answer with the page or the file."""
        with contextlib.suppress(ConnectionError):  # a visitor may leave at any time
            if self.path == "/":
                self._answer("text/html", len(_PAGE), [_PAGE])
            elif self.path == _FILE:
                self._answer("application/octet-stream", _BLOCKS * _BLOCK, file_blocks())
            else:
                self.send_error(HTTPStatus.NOT_FOUND)

    def _answer(self, kind: str, length: int, blocks: Iterable[bytes]) -> None:
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        for block in blocks:
            self.wfile.write(block)

    def log_message(self, *_: object) -> None:
        """Log nothing: the demo prints its own lines."""


@contextlib.contextmanager
def _service() -> Iterator[int]:
    """Serve the page and the file until the context ends; yield the port."""
    with ThreadingHTTPServer((_HOST, 0), _Pages) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def file_blocks() -> Iterator[bytes]:
    """Generate the file in numbered blocks, so that a lost, doubled or misplaced one changes the checksum."""
    filler = hashlib.shake_128(b"backhaul demo").digest(_BLOCK - 8)
    for number in range(_BLOCKS):
        yield number.to_bytes(8) + filler


@contextlib.contextmanager
def _get(port: int, path: str, *, timeout: float) -> Iterator[HTTPResponse]:
    with contextlib.closing(HTTPConnection(_HOST, port, timeout=timeout)) as connection:
        connection.request("GET", path)
        yield connection.getresponse()


def fetch_file(port: int, path: str = _FILE) -> float:
    """Fetch the file and check it; return the seconds taken, including the checksum."""
    expected, received = hashlib.sha256(), hashlib.sha256()
    for block in file_blocks():
        expected.update(block)
    began = time.perf_counter()
    try:
        with _get(port, path, timeout=_FETCH_LIMIT) as response:
            while block := response.read(_BLOCK):
                received.update(block)
    except (OSError, HTTPException) as error:
        raise DemoError(f"the transfer of 100 MB stopped: {error}") from error
    if received.digest() != expected.digest():
        raise DemoError("the tunnel altered the 100 MB or cut them short: the checksum is wrong")
    return time.perf_counter() - began

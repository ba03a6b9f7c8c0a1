"""A reader of the log that stops reading does not stop the program."""

import contextlib
import os
import pty
import re
import socket
import subprocess
import sys
import tty
from collections.abc import Callable, Iterator
from fcntl import F_SETPIPE_SZ, fcntl
from pathlib import Path

import pytest
from tests.support.net import HOST, free_port, until
from tests.support.program import Program
from tests.support.tunnel import TOKEN, Net

from backhaul.system.log_output import LogOutput

Ends = tuple[int, int]
FILLED = [f"{number:099}\n" for number in range(3000)]  # more than a pipe, a socket or a terminal takes


def a_pipe() -> Ends:
    return os.pipe()


def a_socket() -> Ends:  # as systemd passes it, to its journal
    reader, writer = socket.socketpair()
    return reader.detach(), writer.detach()


def a_terminal() -> Ends:
    reader, writer = pty.openpty()
    tty.setraw(writer)
    return reader, writer


@pytest.fixture(params=[a_pipe, a_socket, a_terminal])
def ends(request: pytest.FixtureRequest) -> Iterator[Ends]:
    """The reader's end and the program's."""
    make: Callable[[], Ends] = request.param
    reader, writer = make()
    yield reader, writer
    os.close(reader)
    os.close(writer)


def read(reader: int, size: int) -> str:
    data = b""
    while len(data) < size:
        data += os.read(reader, size - len(data))
    return data.decode()


def at_once(reader: int) -> str:
    """Return what has arrived."""
    data = b""
    with contextlib.suppress(BlockingIOError):
        while True:
            data += os.read(reader, 1 << 20)
    return data.decode()


def test_lines_wait_for_a_slow_reader_in_their_order(ends: Ends) -> None:
    reader, writer = ends
    output = LogOutput(writer, "ascii")
    for line in FILLED:
        output.write(line)
    assert read(reader, sum(map(len, FILLED))) == "".join(FILLED)
    output.finish()
    output.write("and on\n")
    assert read(reader, 7) == "and on\n"
    output.finish()
    assert output.take_lost() == 0


def test_lines_without_room_are_lost_and_counted(ends: Ends) -> None:
    reader, writer = ends
    output = LogOutput(writer, "ascii", most_waiting=1000)
    for line in FILLED:
        output.write(line)
    assert output.take_lost() == 0  # not as long as others wait
    received = ""
    written = len(FILLED)
    while "until here" not in received:
        output.write("until here\n")
        written += 1
        received += os.read(reader, 100).decode()
    os.set_blocking(reader, False)
    lost = 0
    while not lost:  # lines wait for room: the kernel counts some of them for much more than their bytes
        received += at_once(reader)
        output.finish(0.01)
        lost = output.take_lost()
    lines = (received + at_once(reader)).splitlines(keepends=True)
    assert lines.count("until here\n") + sum(line in FILLED for line in lines) == len(lines)
    assert lines == sorted(lines)
    assert lost == written - len(lines)
    assert output.take_lost() == 0


def test_a_long_line_is_written_in_one_piece(ends: Ends) -> None:
    reader, writer = ends
    output = LogOutput(writer, "ascii")
    output.write(line := "x" * 300_000 + "\n")
    assert read(reader, len(line)) == line
    output.finish()


def test_a_descriptor_that_its_starter_has_made_non_blocking_loses_nothing(ends: Ends) -> None:
    reader, writer = ends
    os.set_blocking(writer, False)
    output = LogOutput(writer, "ascii")
    for line in FILLED:
        output.write(line)
    assert read(reader, sum(map(len, FILLED))) == "".join(FILLED)
    output.finish()


SCRIPT = """
import logging, sys
from backhaul.system import log
log.configure('info', 'text')
for number in range(30000):
    logging.getLogger('backhaul').info('line %0100d', number)
open(sys.argv[1], 'w')
for line in sys.stdin:
    logging.getLogger('backhaul').info('one more')
"""
LOST = re.compile(r"\[WARNING\] log: (\d+) lines were lost, because they were not read in time")


def test_a_program_tells_how_many_lines_were_lost(tmp_path: Path) -> None:
    os.mkfifo(written := tmp_path / "written")
    command = [sys.executable, "-c", SCRIPT, str(written)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True, bufsize=1
    ) as program:
        assert program.stdin
        assert program.stdout
        written.read_bytes()  # waits until the program has written all lines that nobody reads
        lines: list[str] = []
        asked = 0
        for line in program.stdout:
            lines.append(line)
            if LOST.search(line):
                program.stdin.close()
            elif len(lines) % 2 and not program.stdin.closed:  # so that fewer and fewer wait
                asked += 1
                program.stdin.write("\n")
    lost = sum(map(int, LOST.findall("".join(lines))))
    assert lost
    assert lost + sum("[INFO]" in line for line in lines) == 30000 + asked
    numbers = [int(line.split()[-1]) for line in lines if "[INFO] line" in line]
    assert numbers == list(range(len(numbers)))


class Log:
    """A log that is read in small pieces, and only while the test waits for a line."""

    def __init__(self, reader: int) -> None:
        os.set_blocking(reader, False)
        self._reader = reader
        self._text = b""

    def has(self, part: bytes) -> bool:
        """Read on, and return whether a part of a line has come."""
        with contextlib.suppress(BlockingIOError):
            self._text += os.read(self._reader, 500)
        return part in self._text


async def test_users_are_served_while_nobody_reads_the_log(net: Net, tmp_path: Path) -> None:
    bind_port, user_port = free_port(), free_port()
    file = tmp_path / "server.toml"
    file.write_text(
        f'[server]\nbind_addr = "{HOST}:{bind_port}"\ntransport = "tcp"\ntoken = "{TOKEN}"\nskip_optz = true\n'
        f'log_level = "debug"\nports = ["{HOST}:{user_port}={await net.echo()}"]\n'
    )
    reader, writer = os.pipe()
    fcntl(writer, F_SETPIPE_SZ, 4096)
    server = await Program.start("-c", file, wrapper=("bash", "-c", f'exec "$@" >&{writer}', "bash"), inherit=[writer])
    os.close(writer)
    try:
        log = Log(reader)
        await until(lambda: log.has(b"server listens"))
        client = await net.client(bind_port)
        await until(lambda: log.has(b"tunnel is up"))
        for _ in range(100):  # each has a line of its own
            user = await net.dial(user_port)
            await user.send(b"hello")
            assert await user.receive(5) == b"hello"
            user.close()
        await net.stop(client)
    finally:
        os.close(reader)
        await server.kill()

"""The faults of a line: its network, and their effects on its users."""

import asyncio
import os
import shutil
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from bench.processes import BenchError, Programs, accepts, free_port, wait_until
from bench.survive.__main__ import parse, trials
from bench.survive.faults import FAULTS, RELOAD, Happening, chosen
from bench.survive.network import CLIENT, SERVER_ADDRESS, Network
from bench.survive.outcome import Row, rows
from bench.survive.remote import Copies, Remote, Session, change, same
from bench.survive.ssh import sshd_command
from bench.survive.users import TYPED, Record, Shell
from tests.support.net import HOST, until

Target = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None] | None]

FIRST, SECOND = Happening("reset", 100.0, 100.1), Happening("silence", 110.0, 120.0)
ROUTE = ["ip", "route", "get", SERVER_ADDRESS]
able = not os.geteuid() and all(map(shutil.which, ("ip", "nft", "tc", "sysctl")))
remote = not os.geteuid() and all(map(shutil.which, ("sshd", "ssh", "rsync", "unshare")))


def of(*records: Record) -> dict[str, Row]:
    return {row.kind: row for row in rows([FIRST, SECOND], records)}


def test_a_stall_counts_from_the_end_of_the_fault_in_which_it_began() -> None:
    found = of(Record("busy", stalls=[(99.9, 102.1), (110.1, 123.0), (130.0, 140.0)]))
    assert found["reset"].stalls == pytest.approx([2.0])
    assert found["silence"].stalls == pytest.approx([3.0])


def test_stalls_with_a_single_answer_in_between_are_one() -> None:
    assert of(Record("busy", stalls=[(100.0, 101.0), (101.1, 105.1)]))["reset"].stalls == pytest.approx([5.0])


def test_a_fault_within_the_stall_of_another_one_has_none_of_its_own() -> None:
    found = of(Record("shell", stalls=[(100.0, 125.1)]))
    assert found["reset"].stalls == pytest.approx([25.0])
    assert found["silence"].stalls == []


def test_a_loss_belongs_to_the_fault_after_which_there_was_no_answer() -> None:
    first = Record("busy", came=[90.0], lost=[(101.0, "EOFError")])
    other = Record("busy", came=[91.0], lost=[(109.9, "stuck")])
    found = of(first, other)
    assert (found["reset"].lost, found["reset"].kept) == (1, 1)
    assert (found["silence"].lost, found["silence"].kept) == (1, 0)


def test_a_user_who_came_again_can_be_lost_again() -> None:
    found = of(Record("busy", came=[90.0, 105.0], lost=[(100.0, "EOFError"), (110.0, "EOFError")]))
    assert (found["reset"].lost, found["silence"].lost, found["silence"].kept) == (1, 1, 0)


def test_idle_users_get_no_answers_that_could_tell_the_fault() -> None:
    found = of(Record("idle", came=[40.0], lost=[(50.0, "stuck")]), Record("busy", came=[40.0]))
    assert (found["reset"].lost, found["reset"].kept) == (0, 1)


def test_faults_are_chosen_by_words_of_their_names() -> None:
    assert chosen(["silence", "forgets"], "tcpmux v2") == ["10 s of silence", "the router forgets connections"]
    assert chosen([], "tcpmux v2") == list(FAULTS)


def test_only_a_tunnel_by_http_has_a_web_server() -> None:
    assert chosen([RELOAD], "wssmux v2") == [RELOAD]
    assert chosen([RELOAD], "tcpmux v2") == []


def test_a_word_that_no_fault_has_is_a_mistake() -> None:
    with pytest.raises(BenchError, match="--faults flood: no fault has this word; they are: "):
        next(trials(parse(["--faults", "silence,flood", "--only-peers"])))


async def neither_came_nor_lost(target: Target, noted: Callable[[Record], bool]) -> None:
    """Let a user connect to a target until this is noted of them, and check that nothing else is."""
    async with await asyncio.start_server(target, HOST, 0) as server:
        over = asyncio.Event()
        user = Shell([server.sockets[0].getsockname()[1]], over)
        running = asyncio.ensure_future(user.run())
        await until(lambda: noted(user.record))
        over.set()
        await running
    assert (user.record.came, user.record.lost) == ([], [])


async def test_wrong_bytes_of_a_first_answer_count() -> None:
    async def lie(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(bytes(len(await reader.readexactly(TYPED))))
        writer.close()

    await neither_came_nor_lost(lie, lambda record: record.wrong > 0)


async def test_a_connection_without_a_first_answer_is_in_vain_and_no_loss() -> None:
    await neither_came_nor_lost(lambda _, writer: writer.close(), lambda record: record.vain > 0)


@pytest.fixture
def sshd(tmp_path: Path) -> Iterator[int]:
    port = free_port()
    with Programs(tmp_path) as programs:
        started = programs.start("sshd", sshd_command(tmp_path / "ssh", port))
        wait_until(lambda: accepts(port), "sshd", started)
        yield port


async def use(user: Remote, over: asyncio.Event, connections: int) -> None:
    running = asyncio.ensure_future(user.run())
    await until(lambda: user.record.exchanges > 0 and len(user.record.came) >= connections)
    over.set()
    await running


@pytest.mark.skipif(not remote, reason="needs root, sshd, ssh and rsync")
async def test_a_remote_shell_calculates(sshd: int, tmp_path: Path) -> None:
    over = asyncio.Event()
    user = Session([0, 0, 0, sshd], over, tmp_path)
    await use(user, over, 1)
    assert (user.record.wrong, user.record.vain, user.record.lost) == (0, 0, [])


@pytest.mark.skipif(not remote, reason="needs root, sshd, ssh and rsync")
async def test_changes_are_copied_there_and_back(sshd: int, tmp_path: Path) -> None:
    over = asyncio.Event()
    user = Copies([0, 0, 0, sshd], over, tmp_path, rate=0)
    await use(user, over, 2)
    assert (user.record.wrong, user.record.vain, user.record.lost) == (0, 0, [])
    assert same(tmp_path / "here", tmp_path / "there")


@pytest.mark.skipif(not all(map(shutil.which, ("ssh", "rsync"))), reason="needs ssh and rsync")
async def test_a_copy_in_vain_is_tried_again_the_same_way(tmp_path: Path) -> None:
    over = asyncio.Event()
    user = Copies([0, 0, 0, free_port()], over, tmp_path)
    before = sorted(file.name for file in (tmp_path / "here").iterdir())
    running = asyncio.ensure_future(user.run())
    await until(lambda: user.record.vain > 1)
    over.set()
    await running
    assert sorted(file.name for file in (tmp_path / "here").iterdir()) == before


def test_copies_with_other_bytes_or_other_files_differ(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    for tree in (one, other):
        tree.mkdir()
        (tree / "file").write_bytes(bytes(100))
    assert same(one, other)
    change(other / "file")
    assert not same(one, other)
    shutil.copy(other / "file", one)
    (one / "more").touch()
    assert not same(one, other)


@pytest.mark.skipif(not able, reason="needs root, iproute2 and nftables")
def test_a_network_connects_its_ends_and_leaves_nothing_behind() -> None:
    with Network() as network:
        done = subprocess.run(network.inside(CLIENT, ROUTE), capture_output=True, text=True, check=True)
        assert "via 192.0.2.1" in done.stdout
        network.move_client()
        network.forget_connections()
    left = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
    assert f"-{os.getpid()}" not in left

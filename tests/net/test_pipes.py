"""The pool of pipes, and its limit by the kernel."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from backhaul.net.pipes import PIPE_SIZE, Pipe, PipePool

SOFT_LIMIT = Path("/proc/sys/fs/pipe-user-pages-soft")  # pages, for all pipes of an unprivileged user together
POOR = """
import os, sys
from backhaul.net.pipes import MIN_USEFUL_SIZE, PipePool
hoard = [PipePool(max_lent=10_000) for _ in range(2)]
os.setgroups([]), os.setgid(65534), os.setuid(65534)
while hoard[0].take():
    pass
lent = hoard[0].lent
print(lent, hoard[0].max_lent, hoard[1].take())
"""


@pytest.fixture
def pool() -> PipePool:
    return PipePool(max_lent=3, max_idle=1)


def is_open(pipe: Pipe) -> bool:
    try:
        os.fstat(pipe.reader)
        os.fstat(pipe.writer)
    except OSError:
        return False
    return True


def take(pool: PipePool) -> Pipe:
    pipe = pool.take()
    assert pipe
    return pipe


def test_a_pipe_holds_a_mebibyte_and_never_blocks(pool: PipePool) -> None:
    pipe = take(pool)
    assert os.write(pipe.writer, bytes(2 * PIPE_SIZE)) == PIPE_SIZE
    with pytest.raises(BlockingIOError):
        os.write(pipe.writer, b"x")
    assert not os.get_inheritable(pipe.reader)
    pool.discard(pipe)


def test_at_most_max_lent_pipes_are_lent(pool: PipePool) -> None:
    pipes = [take(pool) for _ in range(3)]
    assert pool.take() is None
    assert pool.lent == 3
    pool.give(pipes[0])
    assert take(pool) == pipes[0]
    for pipe in pipes:
        pool.discard(pipe)
    assert pool.lent == 0
    assert not any(map(is_open, pipes))


def test_an_empty_pipe_is_kept_for_the_next_and_the_surplus_closed(pool: PipePool) -> None:
    first, second = take(pool), take(pool)
    pool.give(first)
    pool.give(second)
    assert is_open(first)
    assert not is_open(second)
    assert take(pool) == first
    pool.discard(first)


def test_a_closed_pool_keeps_nothing(pool: PipePool) -> None:
    idle, lent = take(pool), take(pool)
    pool.give(idle)
    pool.close()
    assert not is_open(idle)
    assert is_open(lent)
    pool.give(lent)
    assert not is_open(lent)


def test_without_descriptors_there_is_no_pipe_until_some_are_free(
    pool: PipePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhausted(_flags: int) -> tuple[int, int]:
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as patched:
        patched.setattr(os, "pipe2", exhausted)
        assert pool.take() is None
    assert pool.lent == 0
    pool.discard(take(pool))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become a user who owns no pipes yet")
def test_an_unprivileged_user_stops_asking_when_new_pipes_shrink() -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    poor = subprocess.run([sys.executable, "-c", POOR], env=environment, capture_output=True, text=True, check=True)
    lent, most, others = poor.stdout.split()
    pages = PIPE_SIZE // os.sysconf("SC_PAGE_SIZE")
    assert 0 < int(lent) <= int(SOFT_LIMIT.read_text()) // pages
    assert (most, others) == (lent, "None")

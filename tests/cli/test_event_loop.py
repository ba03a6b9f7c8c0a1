"""The event loop of a command, whose threads end with it."""

import asyncio
import sys

import pytest
from tests.support.threadless import refuse_threads

from backhaul.cli.event_loop import fastest, run


async def use_a_thread(patch: pytest.MonkeyPatch) -> int:
    """Make the loop's executor, for whose end it waits in a further thread, and let none start any more."""
    result = await asyncio.to_thread(sum, (3, 4))
    refuse_threads(patch)
    return result


@pytest.mark.parametrize("uvloop", [True, False])
def test_a_command_ends_as_usual_if_no_thread_can_start(*, uvloop: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not uvloop:
        monkeypatch.setitem(sys.modules, "uvloop", None)
    assert (fastest() is None) is not uvloop
    assert run(use_a_thread(monkeypatch), fastest()) == 7


async def fail_to_start() -> None:
    raise RuntimeError("can't start new thread")


def test_a_command_that_gets_no_thread_fails() -> None:
    with pytest.raises(RuntimeError, match="can't start"):
        run(fail_to_start())

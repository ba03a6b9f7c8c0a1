"""Fixtures for commands that ask running programs."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from backhaul.cli.main import run
from backhaul.system import status_socket


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory with the sockets of this test, and no others."""
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path))
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setattr(status_socket, "sockets", lambda: sorted(tmp_path.glob("*.sock")))
    monkeypatch.setattr("backhaul.system.programs.sockets", status_socket.sockets)
    return tmp_path


@pytest.fixture
def command(folder: Path, capfd: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    async def command(*arguments: str) -> tuple[int, str, str]:
        """Run a command beside the programs of this test; return exit code, output and errors."""
        return await asyncio.to_thread(execute, *arguments), *capfd.readouterr()

    return command


def execute(*arguments: str) -> int:
    with pytest.raises(SystemExit) as end:
        run(arguments)
    assert isinstance(end.value.code, int)
    return end.value.code

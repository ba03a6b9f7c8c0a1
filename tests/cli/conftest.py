"""Fixtures for commands that ask running programs."""

from pathlib import Path

import pytest

from backhaul.system import status_socket


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory with the sockets of this test, and no others."""
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path))
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setattr(status_socket, "sockets", lambda: sorted(tmp_path.glob("*.sock")))
    monkeypatch.setattr("backhaul.system.programs.sockets", status_socket.sockets)
    return tmp_path

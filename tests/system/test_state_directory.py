"""The directory for files that must survive a restart."""

import os
from pathlib import Path

import pytest

from backhaul.system.state_directory import state_directory

NOBODY = 65534


@pytest.fixture
def _as_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: NOBODY)
    monkeypatch.setenv("HOME", "/home/me")


@pytest.mark.parametrize("text", ["/var/lib/one", "/var/lib/one:/var/lib/two"])
def test_the_first_directory_of_the_service_manager_is_used(text: str) -> None:
    assert state_directory({"STATE_DIRECTORY": text, "XDG_STATE_HOME": "/x"}) == Path("/var/lib/one")


@pytest.mark.parametrize("text", ["", "relative", ":/var/lib/two"])
def test_root_has_that_of_the_system(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert state_directory({"STATE_DIRECTORY": text, "XDG_STATE_HOME": "/x"}) == Path("/var/lib/backhaul")


@pytest.mark.usefixtures("_as_user")
@pytest.mark.parametrize(
    ("xdg", "folder"),
    [("/x", "/x/backhaul"), ("", "/home/me/.local/state/backhaul"), ("x", "/home/me/.local/state/backhaul")],
)
def test_users_have_their_own(xdg: str, folder: str) -> None:
    assert state_directory({"XDG_STATE_HOME": xdg}) == Path(folder)


@pytest.mark.usefixtures("_as_user")
def test_a_user_without_a_home_has_that_of_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(os, "getuid", lambda: 1 << 30)  # in no list of users
    assert state_directory({}) == Path("/var/lib/backhaul")

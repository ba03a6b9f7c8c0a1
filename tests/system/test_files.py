"""Files that commands write whole."""

import os
import stat
from pathlib import Path

import pytest

from backhaul.system.files import put

GROUP = 54321

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")


@needs_root
@pytest.mark.parametrize(
    ("folder", "mode", "group"),
    [(0o750, 0o640, GROUP), (0o755, 0o600, 0), (0o770, 0o600, 0), (0o700, 0o600, 0)],
    ids=["for a service", "for all", "of a team", "of root"],
)
def test_the_group_of_a_service_may_read_what_root_makes(folder: int, mode: int, group: int, tmp_path: Path) -> None:
    os.chown(tmp_path, -1, GROUP)
    tmp_path.chmod(folder)
    put(tmp_path / "client.toml", b"x", 0o600, force=False)
    found = (tmp_path / "client.toml").stat()
    assert (stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid) == (mode, 0, group)


@needs_root
def test_a_file_that_is_replaced_keeps_its_group(tmp_path: Path) -> None:
    os.chown(tmp_path, -1, GROUP)
    tmp_path.chmod(0o750)
    (tmp_path / "client.toml").touch(0o600)
    put(tmp_path / "client.toml", b"x", 0o600, force=True)
    found = (tmp_path / "client.toml").stat()
    assert (stat.S_IMODE(found.st_mode), found.st_gid) == (0o600, 0)

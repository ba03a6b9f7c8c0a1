"""The parts of a support archive: made one by one, bounded, and listed in its index."""

import io
import tarfile
from pathlib import Path

import pytest

from backhaul.errors import BackhaulError
from backhaul.support.archive import folder_of, index, pack
from backhaul.support.part import Part, make


def failing(error: Exception) -> Part:
    def fail() -> str:
        raise error

    return Part("a.txt", "something", fail)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (BackhaulError("no program"), "no program"),
        (PermissionError(13, "Permission denied", "/a/log"), "/a/log: permission denied"),
        (OSError("odd"), "odd"),
        (KeyError("s3cret"), "KeyError while it was made: report this as a defect of the program"),
    ],
)
def test_one_that_fails_is_missing_for_a_reason(error: Exception, reason: str) -> None:
    made = make(failing(error))
    assert (made.content, made.missing) == (b"", reason)


def test_one_without_memory_names_the_remedy() -> None:
    assert "raise its limits" in make(failing(MemoryError())).missing


def test_a_long_one_is_cut() -> None:
    made = make(Part("a.txt", "digits", lambda: "0123456789"), most=4)
    assert (made.content, made.cut) == (b"0123", 6)
    assert "a.txt  digits; 6 bytes more are left out\n" in index("f", "1", 0, [made])


def test_names_that_are_no_text_are_kept() -> None:
    assert make(Part("a.txt", "a name", lambda: b"\xff".decode(errors="surrogateescape"))).content == b"\\udcff"


def test_the_index_lists_each() -> None:
    made = [make(Part("long.txt", "a text", str)), make(failing(BackhaulError("no program")))]
    text = index("/a/b.toml", "1.2", 0, made)
    assert "Backhaul 1.2\nfile  /a/b.toml\nmade  1970-01-01 00:00:00 UTC\n" in text
    assert text.endswith("\nlong.txt  a text\na.txt     MISSING: no program\n")


def test_the_archive_unpacks_into_one_folder_for_its_owner_alone() -> None:
    with tarfile.open(fileobj=io.BytesIO(pack("me", [("a.txt", b"one"), ("b.txt", b"")], 7.5))) as archive:
        found = archive.getmembers()
    assert [(one.name, one.mode, one.mtime, one.size) for one in found] == [
        ("me/a.txt", 0o600, 7, 3),
        ("me/b.txt", 0o600, 7, 0),
    ]


@pytest.mark.parametrize(
    ("name", "folder"),
    [("a.tar.gz", "a"), ("a.b.tgz", "a.b"), ("a", "a"), (".tar.gz", "backhaul"), ("..a.tar.gz", "a")],
)
def test_the_folder(name: str, folder: str) -> None:
    assert folder_of(Path("x") / name) == folder

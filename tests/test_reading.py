"""Files that an administrator names, among them some that are none, or that never end."""

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from backhaul.reading import decoded, read_file, read_file_or_pipe, require_file

SOON = 0.01


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    """A FIFO without a writer, which a plain open(2) would wait for."""
    os.mkfifo(tmp_path / "fifo")
    return tmp_path / "fifo"


@pytest.mark.parametrize("read", [read_file, read_file_or_pipe])
def test_a_file_is_cut_after_one_byte_too_many(read: Callable[..., bytes], tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(100_000))
    assert read(tmp_path / "file") == bytes(100_000)
    assert len(read(str(tmp_path / "file"), 70_000)) == 70_001
    assert len(read("/dev/zero", 70_000)) == 70_001
    assert read(os.devnull) == b""


def test_a_pipe_is_no_file(fifo: Path) -> None:
    with pytest.raises(OSError, match="a pipe, not a file"):
        read_file(fifo)


def test_a_pipe_is_read_to_its_end() -> None:
    out, into = os.pipe()
    whole = bytes(range(256)) * 1000  # more than the pipe holds
    writer = threading.Thread(target=_write, args=(into, whole))
    writer.start()
    assert read_file_or_pipe(f"/dev/fd/{out}") == whole
    writer.join()
    os.close(out)


def _write(into: int, data: bytes) -> None:
    with open(into, "wb") as file:
        file.write(data)


def test_a_pipe_without_a_writer_is_not_waited_for(fifo: Path) -> None:
    with pytest.raises(OSError, match=r"nothing is written for 0\.01 seconds"):
        read_file_or_pipe(fifo, patience=SOON)


def test_a_pipe_that_never_ends_is_cut(fifo: Path) -> None:
    keeper = os.open(fifo, os.O_RDWR)
    os.write(keeper, bytes(100))
    assert len(read_file_or_pipe(fifo, 10)) == 11
    os.close(keeper)


def test_a_library_may_read_plain_files_only(fifo: Path, tmp_path: Path) -> None:
    (tmp_path / "huge").touch()
    os.truncate(tmp_path / "huge", 11)
    require_file(tmp_path / "huge", 11)
    for path, words in {
        fifo: "a pipe, not a file",
        Path("/dev/zero"): "not a plain file",
        tmp_path: "Is a directory",
        tmp_path / "none": "No such file",
        tmp_path / "huge": "larger than 0 MB",
    }.items():
        with pytest.raises(OSError, match=words):
            require_file(path, 10)


def test_a_text_has_one_kind_of_line_ends() -> None:
    assert decoded(b"\xef\xbb\xbfa\r\nb\rc\n") == "a\nb\nc\n"

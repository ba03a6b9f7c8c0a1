"""The format of Debian's packages, deb(5), written without dpkg and without root."""

import io
import lzma
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

_DIRECTORY: Final = 0o755
_FILE: Final = 0o644
_PROGRAM: Final = 0o755


@dataclass(frozen=True, slots=True)
class Entry:
    """A file, or with ``link`` a symbolic link."""

    path: str
    """Relative to the root directory."""
    content: bytes = b""
    mode: int = _FILE
    link: str = ""


def tree(folder: Path, place: str) -> list[Entry]:
    """Return the files and links of a directory, to be installed in another place."""
    found = sorted(path for path in folder.rglob("*") if path.is_symlink() or path.is_file())
    return [_entry(path, f"{place}/{path.relative_to(folder)}") for path in found]


def _entry(path: Path, place: str) -> Entry:
    if path.is_symlink():
        return Entry(place, link=str(path.readlink()))
    return Entry(place, path.read_bytes(), _PROGRAM if path.stat().st_mode & 0o100 else _FILE)


def package(control: str, scripts: dict[str, str], settings: Iterable[str], entries: list[Entry], when: int) -> bytes:
    """Return a package.

    ``scripts`` are run by dpkg, under their names; ``settings`` are the entries that an administrator may change;
    ``when`` is the time of all files, in seconds.
    """
    size = sum(len(entry.content) // 1024 + 1 for entry in entries)
    meta = [
        Entry("control", f"{control}Installed-Size: {size}\n".encode()),
        Entry("conffiles", "".join(f"/{path}\n" for path in settings).encode()),
        *(Entry(name, text.encode(), _PROGRAM) for name, text in scripts.items()),
    ]
    members = {
        "debian-binary": b"2.0\n",
        "control.tar.xz": _archive(meta, when),
        "data.tar.xz": _archive([*_folders(entries), *entries], when),
    }
    return b"!<arch>\n" + b"".join(_member(name, content, when) for name, content in members.items())


def _folders(entries: list[Entry]) -> list[Entry]:
    """Return the directories that the entries need."""
    parents = {str(parent) for entry in entries for parent in PurePosixPath(entry.path).parents}
    return [Entry(f"{path}/", mode=_DIRECTORY) for path in sorted(parents - {"."})]


def _archive(entries: Iterable[Entry], when: int) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for entry in entries:
            archive.addfile(_header(entry, when), io.BytesIO(entry.content))
    return lzma.compress(target.getvalue())


def _header(entry: Entry, when: int) -> tarfile.TarInfo:
    header = tarfile.TarInfo(f"./{entry.path}")
    header.size, header.mode, header.mtime = len(entry.content), entry.mode, when
    header.uname = header.gname = "root"
    if entry.path.endswith("/"):
        header.type = tarfile.DIRTYPE
    elif entry.link:
        header.type, header.linkname, header.mode = tarfile.SYMTYPE, entry.link, 0o777
    return header


def _member(name: str, content: bytes, when: int) -> bytes:
    """Return a member of an archive, ar(5)."""
    head = f"{name:<16}{when:<12}{0:<6}{0:<6}{'100644':<8}{len(content):<10}`\n"
    return head.encode() + content + b"\n" * (len(content) % 2)

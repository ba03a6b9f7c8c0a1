"""Support archives, as tests read them."""

import tarfile
from pathlib import Path, PurePath
from typing import Final

PARTS: Final = {
    *("report.txt", "report.json", "configuration.txt", "running.txt", "status.txt", "status.json", "events.txt"),
    *("traffic.json", "history.json", "log.txt", "process.txt", "unit.txt", "machine.txt"),
}
"""The names of all parts beside the index."""


def members(path: Path) -> dict[str, str]:
    """Return the text of each file in an archive by its name; all are in the folder that the archive is named after."""
    folder = path.name.removesuffix(".tar.gz")
    found = {}
    with tarfile.open(path) as archive:
        for entry in archive:
            content = archive.extractfile(entry)
            assert content
            assert PurePath(entry.name).parent == PurePath(folder)
            found[PurePath(entry.name).name] = content.read().decode()
    return found


def missing(index: str) -> dict[str, str]:
    """Return the reason of each part that an index calls missing."""
    rows = (line.partition("MISSING: ") for line in index.splitlines())
    return {name.strip(): why for name, mark, why in rows if mark}

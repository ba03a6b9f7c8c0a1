"""The unit ``backhaul@.service`` of Debian's package, which runs each file of its directory under the file's name."""

from pathlib import Path
from typing import Final

TEMPLATE: Final = Path("/usr/lib/systemd/system/backhaul@.service")
SETTINGS: Final = Path("/etc/backhaul")


def instance_of(file: Path, *, template: Path = TEMPLATE, settings: Path = SETTINGS) -> str:
    """Return the name of the unit that runs a configuration file, empty without the package or in other directories."""
    present = file.suffix == ".toml" and file.absolute().parent == settings and template.exists()
    return f"backhaul@{file.stem}" if present else ""

"""Metadata of the wheel that depends on where the project is hosted, which only the publisher knows.

``PROJECT_URL`` names the place when the wheel is built; without it the wheel has no URLs.
"""

import os
import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface


class Hosting(MetadataHookInterface):
    """The project's URLs, and a README whose links work away from the repository."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Add ``urls`` and ``readme``."""
        url = os.environ.get("PROJECT_URL", "").rstrip("/")
        text = (Path(self.root) / "README.md").read_text(encoding="utf-8")
        metadata["readme"] = {"content-type": "text/markdown", "text": absolute(text, url) if url else text}
        metadata["urls"] = urls(url) if url else {}


def urls(url: str) -> dict[str, str]:
    """Return the project's URLs by their label."""
    files = f"{url}/blob/HEAD"
    return {
        "Homepage": url,
        "Documentation": f"{files}/docs/configuration.md",
        "Changelog": f"{files}/CHANGELOG.md",
        "Source": url,
        "Issues": f"{url}/issues",
    }


def absolute(text: str, url: str) -> str:
    """Return Markdown whose links to files of the repository name its host."""
    pictures = re.sub(r"(!\[[^]]*\]\()(?!https?:)", rf"\g<1>{url}/raw/HEAD/", text)
    return re.sub(r"(\]\()(?!https?:|#)", rf"\g<1>{url}/blob/HEAD/", pictures)

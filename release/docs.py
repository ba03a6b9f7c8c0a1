"""The site of the documentation: pages of this repository, with links that lead from page to page.

``python -m release.docs FOLDER`` makes it in ``FOLDER/site``. It loads nothing from other hosts.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
_SETTINGS: Final = ROOT / "release" / "zensical.toml"
_PARTS: Final = {"FAQ": "faq.md", "Limits": "known-limits.md", "Coming from v0.7.2": "from-v072.md"}
"""Parts of README.md that are pages of their own, by their headings."""
_LEFT_OUT: Final = ("Development", "Try it")
"""Parts that concern a copy of the repository."""
_ROOT_PAGES: Final = {
    "SECURITY.md": "security.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
}
_LINK: Final = re.compile(r"\[(?P<text>[^\]\[]*)\]\((?P<target>[^)\s]+)\)")
_FENCE: Final = re.compile(r"^(```.*?^```)$", re.MULTILINE | re.DOTALL)
_IMAGES: Final = (".png", ".svg")
_WORKER: Final = ROOT / "release" / "offline.js"
_FOREIGN_WORKER: Final = b"https://unpkg.com/iframe-worker/shim"
_ELSEWHERE: Final = re.compile(rb"https://(?:unpkg\.com|cdn\.jsdelivr\.net|api\.github\.com)/")
_NOWHERE: Final = b"https://offline.invalid/"


@dataclass(frozen=True, slots=True)
class Page:
    """A page of the site, with the file that its links are relative to."""

    name: str
    source: Path
    text: str

    @property
    def title(self) -> str:
        """The first heading."""
        return self.text.partition("# ")[2].splitlines()[0]

    @property
    def anchors(self) -> frozenset[str]:
        """The anchors of its headings, as GitHub derives them."""
        headings = re.findall(r"^#+ (.+)$", _FENCE.sub("", self.text), re.MULTILINE)
        return frozenset(re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings)


def pages() -> list[Page]:
    """Return all pages, with the links that they have in the repository."""
    found = [Page(path.name, path, path.read_text(encoding="utf-8")) for path in sorted(ROOT.glob("docs/*.md"))]
    found += [Page(name, ROOT / file, (ROOT / file).read_text(encoding="utf-8")) for file, name in _ROOT_PAGES.items()]
    return found + list(_parts(ROOT / "README.md"))


def _parts(readme: Path) -> Iterator[Page]:
    """Yield the pages that are made of README.md."""
    head, *parts = re.split(r"^(?=## )", readme.read_text(encoding="utf-8"), flags=re.MULTILINE)
    titled = {part.splitlines()[0].removeprefix("## "): part for part in parts}
    for title, name in _PARTS.items():
        yield Page(name, readme, re.sub(r"^#(#+ )", r"\1", titled.pop(title), flags=re.MULTILINE))
    yield Page("index.md", readme, head + "".join(part for title, part in titled.items() if title not in _LEFT_OUT))


def stage(folder: Path) -> None:
    """Write the pages, the images and the settings of the site into a folder."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "pages").mkdir(parents=True)
    every = pages()
    for page in every:
        (folder / "pages" / page.name).write_text(_linked(page, every), encoding="utf-8")
    for image in [path for path in (ROOT / "docs").iterdir() if path.suffix in _IMAGES]:
        shutil.copy(image, folder / "pages")
    shutil.copy(_SETTINGS, folder)


def build(folder: Path) -> Path:
    """Make the site in a folder; return where it is. A link without a target is an error."""
    stage(folder)
    program = Path(sys.executable).with_name("zensical")
    subprocess.run([program, "build", "--strict"], cwd=folder, check=True)
    _take_offline(folder / "site")
    return folder / "site"


def _take_offline(site: Path) -> None:
    """Remove what the theme would fetch from other hosts: a part of the search, and options that no page uses."""
    shutil.copy(_WORKER, site)
    for page in site.glob("*.html"):
        page.write_bytes(page.read_bytes().replace(_FOREIGN_WORKER, _WORKER.name.encode()))
    for script in site.rglob("*.js"):
        script.write_bytes(_ELSEWHERE.sub(_NOWHERE, script.read_bytes()))


def _linked(page: Page, every: list[Page]) -> str:
    """Return the text with the links of the site; those to other files of the repository become plain text."""
    homes = {os.fspath(one.source): one for one in every if one.source.name != "README.md"}

    def link(found: re.Match[str]) -> str:
        file, _, anchor = found["target"].partition("#")
        if "://" in file or file.startswith("mailto:"):
            return found[0]
        target = (page.source.parent / file).resolve() if file else page.source
        if home := _page_of(target, anchor, every, homes):
            text = home.title if found["text"].endswith(".md") else found["text"]
            return f"[{text}]({home.name}{'#' + anchor if anchor else ''})"
        return f"[{found['text']}]({target.name})" if target.suffix in _IMAGES else found["text"]

    pieces = _FENCE.split(page.text)
    return "".join(piece if piece.startswith("```") else _LINK.sub(link, piece) for piece in pieces)


def _page_of(target: Path, anchor: str, every: list[Page], homes: Mapping[str, Page]) -> Page | None:
    """Return the page that a file or a part of README.md has become, or None for another file of the repository."""
    if target.name == "README.md":
        *parts, start = [one for one in every if one.source == target]
        return next((one for one in parts if anchor in one.anchors), start)
    return homes.get(os.fspath(target))


if __name__ == "__main__":
    print(build(Path(sys.argv[1])) / "index.html")

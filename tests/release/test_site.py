"""The site of the documentation: whole, and without a request to another host."""

import re
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from release.docs import ROOT, build
from tests.monitor.browser import Browser, open_browser

FETCHED = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src", "object": "data"}
NAMESPACES = {"www.w3.org", "fontawesome.com", "offline.invalid"}
"""Hosts that no browser asks: vocabularies of XML, the notice of the icons, and a name that never exists (RFC 2606)."""
EVERYTHING = """
const texts = (root) => [...root.querySelectorAll("*")].map(
    (element) => element.shadowRoot ? texts(element.shadowRoot) : element.innerText);
return texts(document).flat(9).join(" ");
"""
"""Returns the text of the page and of its components."""
COMMENT = re.compile(rb"/\*.*?\*/", re.DOTALL)


class Reader(HTMLParser):
    """Collects anchors, links, and what a browser fetches by itself."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.fetched: list[str] = []
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.anchors |= {values[name] for name in ("id", "name") if name in values}
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        if FETCHED.get(tag) in values:
            self.fetched.append(values[FETCHED[tag]])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site; the program that makes it complains of links to pages that do not exist."""
    return build(tmp_path_factory.mktemp("docs"))


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Reader]:
    return {page: Reader(page) for page in site.glob("*.html")}


def test_every_page_is_in_the_navigation(pages: dict[Path, Reader], site: Path) -> None:
    linked = {link.partition("#")[0].removeprefix("./") for link in pages[site / "faq.html"].links}
    assert {path.with_suffix(".html").name for path in ROOT.glob("docs/*.md")} <= linked
    assert len(pages) > 20


def test_every_link_leads_somewhere(pages: dict[Path, Reader]) -> None:
    assert list(broken(pages)) == []


def broken(pages: dict[Path, Reader]) -> Iterator[tuple[str, str]]:
    """Yield pages and their links to a file or an anchor that does not exist."""
    for page, reader in pages.items():
        for link in [*reader.links, *reader.fetched]:
            parts = urlsplit(link)
            if parts.scheme or (page.name == "404.html" and link.startswith("/")):
                continue
            target = page.parent / unquote(parts.path) if parts.path else page
            anchors = pages[target].anchors if target in pages else {""}
            if not target.exists() or (parts.fragment and unquote(parts.fragment) not in anchors):
                yield page.name, link


def test_a_broken_link_would_be_found(tmp_path: Path) -> None:
    page = tmp_path / "x.html"
    page.write_text('<a href="#a"></a><a href="y.html"></a><a href="#b"></a><p id="b"></p><img src="z.png">')
    assert [link for _, link in broken({page: Reader(page)})] == ["#a", "y.html", "z.png"]


def test_a_browser_fetches_nothing_from_elsewhere(pages: dict[Path, Reader]) -> None:
    assert {url for reader in pages.values() for url in reader.fetched if urlsplit(url).netloc} == set()


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    browser = open_browser(tmp_path)
    yield browser
    browser.driver.quit()


@pytest.mark.browser
@pytest.mark.skipif(not shutil.which("chromedriver"), reason="chromedriver is missing (chromium-driver)")
def test_the_search_works_without_a_server(browser: Browser, site: Path) -> None:
    browser.driver.get((site / "index.html").as_uri())
    browser.script("dispatchEvent(new KeyboardEvent('keydown', {key: 'k', ctrlKey: true, bubbles: true}))")
    browser.press("half-close")
    browser.wait(lambda: "What about half-close?" in browser.script(EVERYTHING))
    # Files are not among them.
    assert browser.script("return performance.getEntriesByType('resource').map((entry) => entry.name)") == []


@pytest.mark.parametrize("kind", ["js", "css"])
def test_scripts_and_styles_name_no_other_host(site: Path, kind: str) -> None:
    files = [path for path in site.rglob(f"*.{kind}") if path.name != "search.js"]  # that holds the text of the pages
    hosts = {
        host.decode()
        for path in files
        for host in re.findall(rb"https?://([\w-]+(?:\.[\w-]+)+)", COMMENT.sub(b"", path.read_bytes()))
    }
    assert files
    assert hosts <= NAMESPACES

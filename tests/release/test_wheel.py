"""The wheel and the source distribution hold the program, and nothing else."""

import email
import subprocess
import sys
import tarfile
import zipfile
from email.message import Message
from pathlib import Path

import pytest
from hatch_build import absolute, urls

from backhaul import __version__

ROOT = Path(__file__).parents[2]
NAME = f"backhaul-{__version__}"
PLACE = "https://code.example/someone/backhaul"


def build(target: str, folder: Path, **environment: str) -> Path:
    command = [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True)
    (made,) = folder.iterdir()
    return made


def read(wheel: zipfile.ZipFile) -> Message:
    """Return the metadata of a wheel."""
    return email.message_from_string(wheel.read(f"{NAME}.dist-info/METADATA").decode())


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    return zipfile.ZipFile(build("wheel", tmp_path_factory.mktemp("wheel"), PROJECT_URL=PLACE))


@pytest.fixture(scope="module")
def metadata(wheel: zipfile.ZipFile) -> Message:
    return read(wheel)


def sources() -> set[str]:
    """Return the files of the package, by their place in the wheel."""
    files = [path for path in (ROOT / "src").rglob("*") if path.is_file() and path.suffix not in (".pyc", ".pyo")]
    return {str(path.relative_to(ROOT / "src")) for path in files}


def test_the_wheel_holds_the_package_and_the_man_page(wheel: zipfile.ZipFile) -> None:
    names = set(wheel.namelist())
    assert {name for name in names if name.startswith("backhaul/")} == sources()
    assert {name for name in names if not name.startswith("backhaul/")} == {
        f"{NAME}.data/data/share/man/man1/backhaul.1",
        *(f"{NAME}.dist-info/{name}" for name in ("METADATA", "WHEEL", "RECORD", "entry_points.txt")),
        f"{NAME}.dist-info/licenses/LICENSE",
    }
    assert {Path(name).suffix for name in sources()} == {".py", ".typed", ".html", ".css", ".js", ".svg"}


def test_the_wheel_runs_on_every_machine_with_python(wheel: zipfile.ZipFile) -> None:
    assert wheel.filename
    assert wheel.filename.endswith("-py3-none-any.whl")


def test_the_metadata_is_complete(metadata: Message) -> None:
    assert metadata["Version"] == __version__
    assert metadata["License-Expression"] == "AGPL-3.0-only"
    assert metadata["License-File"] == "LICENSE"
    assert metadata["Keywords"]
    assert "Typing :: Typed" in metadata.get_all("Classifier", [])
    assert dict(line.split(", ") for line in metadata.get_all("Project-URL", [])) == urls(PLACE)


def test_links_of_the_readme_work_away_from_the_repository(metadata: Message) -> None:
    text = metadata.get_payload()
    assert f"]({PLACE}/blob/HEAD/docs/configuration.md)" in text
    assert f"![The monitoring page]({PLACE}/raw/HEAD/docs/page.png)" in text
    assert "](docs/" not in text


@pytest.mark.parametrize("text", ["[a](#b)", "[a](https://a.example/b)", "![a](https://a.example/b.png)"])
def test_other_links_stay(text: str) -> None:
    assert absolute(text, PLACE) == text


def test_without_a_host_nothing_is_made_up(tmp_path: Path) -> None:
    with zipfile.ZipFile(build("wheel", tmp_path)) as made:
        plain = read(made)
    assert plain.get_all("Project-URL") is None
    assert plain.get_payload() == (ROOT / "README.md").read_text()


def test_the_source_distribution_holds_what_it_is_built_and_tested_with(tmp_path: Path) -> None:
    with tarfile.open(build("sdist", tmp_path)) as made:
        names = {name.split("/")[1] for name in made.getnames()}
    hidden = {name for name in names if name.startswith(".")}
    assert {"src", "tests", "docs", "examples", "pyproject.toml", "hatch_build.py", "LICENSE", "PKG-INFO"} <= names
    assert hidden <= {".ci", ".dockerignore", ".github", ".gitignore"}
    assert not names & {"dist", "build"}

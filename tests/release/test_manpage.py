"""The man page in docs/ is that of the command line and the keys, and correct roff."""

import shutil
import subprocess
from pathlib import Path

import pytest
from release.manpage import page

from backhaul.config.keys import keys
from backhaul.config.schema import SIDES

PAGE = Path(__file__).parents[2] / "docs" / "backhaul.1"


def test_it_is_current() -> None:
    assert page() == PAGE.read_text(encoding="utf-8"), "run: python -m release.manpage > docs/backhaul.1"


def test_it_has_every_key() -> None:
    names = {key.name for side in SIDES.values() for key in keys(side)}
    text = page()
    assert [name for name in names if f"\\fB{name}\\fP = " not in text] == []


@pytest.mark.skipif(not shutil.which("groff"), reason="needs groff")
def test_groff_has_no_complaint() -> None:
    run = subprocess.run(["groff", "-man", "-ww", "-z", "-Tutf8", PAGE], capture_output=True, text=True, check=True)
    assert run.stderr == ""

"""Agreement of docs/configuration.md with the program."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.config import server

from backhaul.config import ConfigError, load
from backhaul.config.keys import keys
from backhaul.config.ports import parse_entry
from backhaul.config.reference import reference
from backhaul.config.schema import SIDES

DOCUMENT = Path(__file__).parents[2] / "docs" / "configuration.md"


def test_the_document_holds_what_the_generator_prints() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    _, _, rest = text.partition("instead. -->\n\n")
    generated, _, _ = rest.partition("\n<!-- End of the generated part. -->")
    assert generated == reference(), "run `python -m backhaul.config.reference` and put its output into the document"


def test_the_generator_is_a_command() -> None:
    command = [sys.executable, "-m", "backhaul.config.reference"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "PYTHONUTF8": "1"}
    done = subprocess.run(command, check=True, capture_output=True, encoding="utf-8", env=environment)
    assert done.stdout == reference()


def test_every_key_is_described() -> None:
    rows = reference().splitlines()
    for side in SIDES.values():
        for key in keys(side):
            [row] = [row for row in rows if row.startswith(f"| `{key.name}` |")]
            assert all(cell.strip() for cell in row.strip("|").split("|"))


def test_the_listed_port_mappings_are_read() -> None:
    table = DOCUMENT.read_text(encoding="utf-8").partition("## Port mappings")[2].partition("The grammar")[0]
    entries = [cell.strip('"') for row in table.splitlines() if row.startswith('| `"')
               for cell in row.split("|")[1].strip().replace("`", "").split(", ")]  # fmt: skip
    assert len(entries) > 10
    assert all(parse_entry(entry) for entry in entries)


def test_the_documented_mistakes_are_those_of_the_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = '[server]\nbind_adr = ":1"\ntransport = "tpc"\nheartbeat = "abc"\n'
    Path("server.toml").write_text(text + 'ports = ["443", "127.0.0.2:443=22", "600-443"]\n')
    with pytest.raises(ConfigError) as caught:
        load("server.toml")
    document = DOCUMENT.read_text(encoding="utf-8")
    assert len(caught.value.problems) == 5
    assert all(f"{problem}\n" in document for problem in caught.value.problems)


def test_the_documented_warnings_are_those_of_the_program() -> None:
    document = DOCUMENT.read_text(encoding="utf-8")
    warnings = server("hartbeat = 1\nmux_con = 9").warnings
    assert len(warnings) == 3
    assert all(f"{warning}\n" in document for warning in warnings)

"""The unit of Debian's package for a configuration file."""

from pathlib import Path

import pytest
from release.debian import SETTINGS, UNIT

from backhaul.system import template_unit
from backhaul.system.template_unit import instance_of


@pytest.mark.parametrize(
    ("file", "unit"), [("client.toml", "backhaul@client"), ("client.conf", ""), ("more/client.toml", "")]
)
def test_the_unit_has_the_name_of_the_file(file: str, unit: str, tmp_path: Path) -> None:
    (tmp_path / "unit").touch()
    assert instance_of(tmp_path / file, template=tmp_path / "unit", settings=tmp_path) == unit


def test_without_the_package_there_is_none(tmp_path: Path) -> None:
    assert not instance_of(tmp_path / "client.toml", template=tmp_path / "unit", settings=tmp_path)


def test_the_places_are_those_of_the_package() -> None:
    assert str(template_unit.TEMPLATE) == f"/{UNIT}"
    assert {str(template_unit.SETTINGS)} == {f"/{Path(place).parent}" for place in SETTINGS}

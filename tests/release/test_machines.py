"""The machines for which packages are made."""

import pytest
from release.machines import machine


@pytest.mark.parametrize(
    ("name", "debian", "loader"),
    [("x86_64", "amd64", "ld-linux-x86-64.so.2"), ("aarch64", "arm64", "ld-linux-aarch64.so.1")],
)
def test_a_machine_has_the_names_that_debian_and_glibc_give_it(name: str, debian: str, loader: str) -> None:
    assert machine(name) == (debian, loader)


def test_others_get_one_line() -> None:
    with pytest.raises(SystemExit, match="no package for riscv64: only for x86_64, aarch64; "):
        machine("riscv64")

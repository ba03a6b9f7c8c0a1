"""The command ``backhaul convert``."""

import shlex
import stat
from pathlib import Path

import pytest

from backhaul.cli.main import run
from backhaul.reading import MOST

DATA = Path(__file__).parents[1] / "data" / "convert"
COMMAND = "ssh -N -R 8080:localhost:80 me@tunnel.example.com"


def ended(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[object, str, str]:
    with pytest.raises(SystemExit) as end:
        run(list(map(str, arguments)))
    return end.value.code, *capsys.readouterr()


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_both_files_are_written_for_their_owner_alone(capsys: pytest.CaptureFixture[str]) -> None:
    code, output, error = ended(capsys, "convert", COMMAND, "--to", "new/folder")
    assert (code, error) == (0, "")
    for name in ("server.toml", "client.toml"):
        file = Path("new/folder", name)
        assert f"{file} is written" in output
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert ended(capsys, "check", "--strict", file)[0] == 0
    assert output.endswith("\n  backhaul service install -c FILE\n")
    token = shlex.split(Path("new/folder/client.toml").read_text().split("token = ")[1])[0]
    assert token.startswith("bh1_")
    assert token not in output


def test_it_says_what_is_lost_and_shows_no_secret(capsys: pytest.CaptureFixture[str]) -> None:
    folder = DATA / "rathole" / "in"
    code, output, error = ended(capsys, "convert", folder / "server.toml", folder / "client.toml")
    assert (code, error) == (0, "")
    assert f"{folder / 'server.toml'}: server.transport.noise.local_private_key: " in output
    assert "\nwithout a counterpart, or different\n" in output
    assert "spruce" not in output
    assert "-of-noise" not in output


def test_a_missing_requirement_of_the_start_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    """The certificate is made as the output says; then both files pass the check."""
    code, output, error = ended(capsys, "convert", DATA / "frp-client" / "in" / "frpc.toml")
    assert code == 2
    assert "\n  server.toml: server.tls_cert: cannot read" in error
    assert "`backhaul cert --name HOST` makes both files" in output
    assert ended(capsys, "cert", "--name", "tunnel.example.com")[0] == 0
    assert ended(capsys, "check", "server.toml")[0] == ended(capsys, "check", "client.toml")[0] == 0


@pytest.mark.parametrize("present", ["server.toml", "client.toml"])
def test_no_file_is_replaced(present: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path(present).write_text("mine")
    code, output, error = ended(capsys, "convert", COMMAND)
    assert (code, output) == (2, "")
    assert error == f"backhaul convert: {present}: exists; name another directory with --to\n"
    assert [path.read_text() for path in Path().iterdir()] == ["mine"]


def test_no_name_is_taken_for_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("", "ssh", "ssh x.toml"):
        assert ended(capsys, "convert", name)[0] == 2


def test_a_name_may_hold_a_space(capsys: pytest.CaptureFixture[str]) -> None:
    Path("my frps.toml").write_text("bindPort = 7000")
    assert ended(capsys, "convert", "my frps.toml")[0] == 0


def test_a_file_that_cannot_be_read_or_written_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert "missing.toml: cannot be read: No such file" in ended(capsys, "convert", "missing.toml")[2]
    Path("large.toml").write_bytes(bytes(MOST + 1))
    assert "large.toml: larger than 16 MB" in ended(capsys, "convert", "large.toml")[2]
    Path("bytes.toml").write_bytes(b"\xff")
    assert "bytes.toml: not UTF-8 text" in ended(capsys, "convert", "bytes.toml")[2]
    assert (
        "bytes.toml: cannot be written: Not a directory" in ended(capsys, "convert", COMMAND, "--to", "bytes.toml")[2]
    )

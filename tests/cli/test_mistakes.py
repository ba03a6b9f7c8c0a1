"""Mistakes on the command line: one line with the likely remedy, below the usage of the command that is meant."""

from pathlib import Path

import pytest

from backhaul.cli.main import run


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[str, str]:
    """Return the beginning of the usage and the last line of a command line that is refused."""
    with pytest.raises(SystemExit) as end:
        run(words)
    assert end.value.code == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    lines = shown.err.splitlines()
    return lines[0].partition(" [")[0], lines[-1]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["stats"], "no command stats; did you mean `backhaul status`?"),
        (["version"], "no command version; did you mean `backhaul --version`?"),
        (["help"], "no command help; did you mean `backhaul --help`?"),
        (["xyzzy"], "no command xyzzy; `backhaul --help` lists the commands"),
        (["end.toml"], "no command end.toml; to run a file: backhaul -c end.toml"),
        (["-c", "end.toml", "other.toml"], "no command other.toml; to run a file: backhaul -c other.toml"),
        (["--conf", "end.toml", "chekc"], "no command chekc; did you mean `backhaul check`?"),
        (["-cend.toml", "relaod"], "no command relaod; did you mean `backhaul reload`?"),
        (["a\x1b[31m"], "no command a\\x1b[31m; `backhaul --help` lists the commands"),
        (["backhaul://s3cret@a.example:1"], "write `backhaul join` before the line"),
    ],
)
def test_a_word_that_is_no_command(capsys: pytest.CaptureFixture[str], words: list[str], line: str) -> None:
    assert refused(capsys, *words) == ("usage: backhaul", f"backhaul: error: {line}")


def test_an_existing_file_needs_no_ending(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config").touch()
    assert refused(capsys, "config")[1].endswith("; to run a file: backhaul -c config")


@pytest.mark.parametrize(
    ("words", "command", "line"),
    [
        (["status", "--jsn"], "status", "unrecognized arguments: --jsn; did you mean `--json`?"),
        (["status", "end.toml"], "status", "unrecognized arguments: end.toml; name a file with -c: -c end.toml"),
        (["doctor", "/etc/x"], "doctor", "unrecognized arguments: /etc/x; name a file with -c: -c /etc/x"),
        (["reload", "x"], "reload", "unrecognized arguments: x"),
        (["token", "end.toml"], "token", "unrecognized arguments: end.toml"),
        (
            ["service", "install", "a.toml"],
            "service install",
            "unrecognized arguments: a.toml; name a file with -c: -c a.toml",
        ),
        (["demo", "--onec", "x"], "demo", "unrecognized arguments: --onec x; did you mean `--once`?"),
        (["demo", "--xyz"], "demo", "unrecognized arguments: --xyz"),
    ],
)
def test_arguments_that_a_command_does_not_know(
    capsys: pytest.CaptureFixture[str], words: list[str], command: str, line: str
) -> None:
    assert refused(capsys, *words) == (f"usage: backhaul {command}", f"backhaul {command}: error: {line}")


def test_an_option_of_the_program_itself(capsys: pytest.CaptureFixture[str]) -> None:
    assert refused(capsys, "--confg")[1] == "backhaul: error: unrecognized arguments: --confg; did you mean `--config`?"


@pytest.mark.parametrize("words", [["doctor", "-c"], ["server", "invite", "-c"], ["convert"]])
def test_a_directory_in_place_of_a_file(capsys: pytest.CaptureFixture[str], words: list[str], tmp_path: Path) -> None:
    assert refused(capsys, *words, str(tmp_path))[1].endswith(f"{tmp_path}: a directory; name one of its files")


@pytest.mark.parametrize("words", [["service", "install"], ["server", "invite"]])
def test_the_file_of_an_installed_service_is_missing(
    capsys: pytest.CaptureFixture[str], words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever names no file has not heard of it."""
    monkeypatch.setattr("backhaul.cli.main.INSTALLED", f"{tmp_path}/config.toml")
    assert refused(capsys, *words)[1] == f"{tmp_path}/config.toml: no such file; name another with -c FILE"

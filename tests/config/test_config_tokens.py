"""The sources of tokens: a key, a list, a file, the environment, or the service manager."""

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from backhaul.config import ConfigError
from backhaul.config.diff import diff
from backhaul.config.loader import load, parse
from backhaul.config.schema import Config
from backhaul.system.token import PREFIX, make_token

BASE = '[client]\nremote_addr = "192.0.2.1:3080"\ntransport = "tcp"\n'
ONE, TWO = "0123456789abcdef-one", "0123456789abcdef-two"
FROM_VARIABLE = {"BACKHAUL_TOKEN": ONE}


def accepted(lines: str = "", environment: Mapping[str, str] | None = None) -> list[str]:
    return texts(parse(BASE + lines, environment or {}))


def texts(config: Config) -> list[str]:
    return [token.reveal() for token in config.accepted]


def problem(lines: str, environment: Mapping[str, str] | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        accepted(lines, environment)
    (line,) = caught.value.problems
    return line


def test_one_key_or_a_list() -> None:
    assert accepted(f'token = "{ONE}"') == [ONE]
    assert accepted(f'tokens = ["{ONE}", "{TWO}"]') == [ONE, TWO]
    assert accepted() == accepted("tokens = []") == accepted('token_file = ""') == ["musix"]


@pytest.mark.parametrize("text", [f"{ONE}\n", f"\n{ONE}\r\n\n", f"  {ONE}", f"\ufeff{ONE}"])
def test_a_file_with_one_token(text: str, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(text)
    assert accepted(f'token_file = "{tmp_path}/token"') == [ONE]


def test_a_file_with_two_tokens(tmp_path: Path) -> None:
    (tmp_path / "tokens").write_text(f"{ONE}\n{TWO}\n")
    assert accepted(f'token_file = "{tmp_path}/tokens"') == [ONE, TWO]


def test_the_environment_where_the_file_holds_none(tmp_path: Path) -> None:
    (tmp_path / "backhaul.token").write_text(TWO)
    from_unit = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    assert accepted(environment=FROM_VARIABLE) == [ONE]
    assert accepted(environment=from_unit) == [TWO]
    assert accepted(environment=from_unit | FROM_VARIABLE) == [ONE]
    assert accepted(f'token = "{TWO}"', FROM_VARIABLE) == [TWO]
    assert parse(BASE, FROM_VARIABLE).token_source == "BACKHAUL_TOKEN"
    assert accepted(environment={"BACKHAUL_TOKEN": "", "CREDENTIALS_DIRECTORY": os.devnull}) == ["musix"]


def test_the_program_reads_its_own_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "client.toml").write_text(BASE)
    monkeypatch.setenv("BACKHAUL_TOKEN", ONE)
    assert texts(load(tmp_path / "client.toml")) == [ONE]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (f'token = "{ONE}"\ntokens = ["{TWO}"]', "client.tokens: token is set, too; keep one of"),
        (f'tokens = ["{ONE}"]\ntoken_file = "/dev/null"', "client.token_file: tokens is set, too; keep one of"),
        ('token_file = "/nowhere"', 'client.token_file: cannot read "/nowhere": No such file or directory; correct'),
        ('token_file = "/proc"', 'client.token_file: cannot read "/proc": Is a directory; correct the path'),
        ('token_file = "a\\u0000b"', "client.token_file: no file can have this name; correct the path"),
        ('token_file = "/dev/null"', 'client.token_file: "/dev/null" holds no token; write one on each line'),
        ('token_file = "/dev/zero"', 'client.token_file: "/dev/zero" is too large for a file of tokens; name another'),
        ('tokens = "text"', 'client.tokens: expected a list of texts in quotes, got text'),
        (f'tokens = ["{ONE}", 7]', "client.tokens: entry 2: expected text in quotes"),
        (f'tokens = ["{ONE}", ""]', "client.tokens: entry 2: expected text in quotes"),
        (f'tokens = ["{ONE}\\n"]', "client.tokens: entry 1: it holds a control character or a line break"),
    ],
)  # fmt: skip
def test_a_mistake_names_the_key_and_the_remedy(lines: str, expected: str) -> None:
    line = problem(lines)
    assert line.startswith(expected)
    assert ONE not in line


@pytest.mark.parametrize("sign", ["\x07", "\x7f"])
def test_a_token_elsewhere_is_checked_as_well(sign: str, tmp_path: Path) -> None:
    (tmp_path / "backhaul.token").write_text(f"{ONE}{sign}")
    mistake = "holds something that is no token: it holds a control character"
    assert f'client.token_file: "{tmp_path}/backhaul.token" {mistake}' in problem(
        f'token_file = "{tmp_path}/backhaul.token"'
    )
    assert f"client.BACKHAUL_TOKEN: the variable {mistake}" in problem("", {"BACKHAUL_TOKEN": f"{ONE}{sign}"})
    assert f'CREDENTIALS_DIRECTORY: "{tmp_path}' in problem("", {"CREDENTIALS_DIRECTORY": str(tmp_path)})


def test_a_file_in_another_encoding_is_a_mistake(tmp_path: Path) -> None:
    (tmp_path / "token").write_bytes(ONE.encode() + b"\xfc\n")
    assert problem(f'token_file = "{tmp_path}/token"').endswith("is not UTF-8 text; save it as UTF-8")


def test_a_blank_variable_is_no_token() -> None:
    assert accepted(environment={"BACKHAUL_TOKEN": " \n"}) == ["musix"]


def test_a_credential_that_cannot_be_looked_up_is_a_mistake() -> None:
    line = problem("", {"CREDENTIALS_DIRECTORY": f"/{'long' * 100}"})
    assert line.startswith("client.CREDENTIALS_DIRECTORY: cannot read")
    assert "File name too long" in line


def test_other_tokens_in_the_same_file_are_a_change(tmp_path: Path) -> None:
    lines = f'token_file = "{tmp_path}/token"'
    (tmp_path / "token").write_text(ONE)
    before = parse(BASE + lines)
    assert not diff(before, parse(BASE + lines)).rebuild
    (tmp_path / "token").write_text(TWO)
    change = diff(before, parse(BASE + lines))
    assert (change.rebuild, change.changed) == (True, ("token_file",))
    moved = parse(f'{BASE}token = "{TWO}"')
    assert diff(before, moved).changed == ("token", "token_file")


def test_weak_tokens_are_warned_of_wherever_they_are() -> None:
    (weak, *_) = parse(f'{BASE}tokens = ["{ONE}", "short"]').warnings
    assert weak.startswith("token: shorter than 16 characters")
    (weak, *_) = parse(BASE, {"BACKHAUL_TOKEN": "short"}).warnings
    assert weak.startswith("token: shorter than 16 characters")


def test_a_made_token_is_strong_and_one_line() -> None:
    made = {make_token() for _ in range(100)}
    assert len(made) == 100
    for token in made:
        assert token.startswith(PREFIX)
        assert len(token) == len(PREFIX) + 43
        assert accepted(f'token = "{token}"') == [token]
        assert not parse(f'{BASE}token = "{token}"\nsecurity = "required"').warnings

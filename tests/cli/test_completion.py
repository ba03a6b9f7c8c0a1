"""The completions, in the shells that they are for."""

import os
import pty
import re
import select
import shlex
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from backhaul.cli.main import run

COMMANDS = {
    "check",
    "status",
    "service",
    "cert",
    "token",
    "server",
    "join",
    "demo",
    "drain",
    "resume",
    "reload",
    "reopen",
    "completion",
}
PROMPT = "ready> "
MARK = "================"
KILL = "\x15"  # Control-U takes the line back


def bash(script: Path, lines: Sequence[str]) -> list[set[str]]:
    """Call the function as bash does at a terminal; files are what it would offer on ``compopt``."""
    commands = ["compopt() { [[ $2 == default ]] && kind=-f || kind=-d; }", f"source {shlex.quote(str(script))}"]
    for line in lines:
        words = shlex.split(line) + [""] * line.endswith(" ")
        commands += [
            f"kind=; COMPREPLY=(); COMP_WORDS=({shlex.join(words)}); COMP_CWORD={len(words) - 1}",
            '_backhaul; printf "%s\\n" "${COMPREPLY[@]}"',
            f'[[ ! $kind ]] || compgen "$kind" -- {shlex.quote(words[-1])}',
            f"echo {MARK}",
        ]
    answers = output(["bash", "--norc", "-c", "\n".join(commands)], script.parent).split(MARK)
    return [set(answer.split()) for answer in answers[:-1]]


def fish(script: Path, lines: Sequence[str]) -> list[set[str]]:
    commands = [f"source {shlex.quote(str(script))}"]
    commands += [f"complete -C {shlex.quote(line)}; echo {MARK}" for line in lines]
    answers = output(["fish", "--no-config", "-c", "\n".join(commands)], script.parent).split(f"{MARK}\n")
    return [{row.split("\t")[0].rstrip("/") for row in answer.splitlines()} for answer in answers[:-1]]


def zsh(script: Path, lines: Sequence[str]) -> list[set[str]]:
    """Press Tab in a terminal, and read the list."""
    settings = "autoload -U compinit; compinit -D -u; bindkey '^I' list-choices; unsetopt list_types; LISTMAX=1000"
    (script.parent / ".zshrc").write_text(f"{settings}\nsource {shlex.quote(str(script))}\n")
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(script.parent)
        os.execvpe("zsh", ["zsh", "-d", "-i"], os.environ | {"TERM": "dumb", "PS1": PROMPT, "ZDOTDIR": "."})  # noqa: S606
    try:
        read_until(terminal, PROMPT)
        return [listed(terminal, line) for line in lines]
    finally:
        os.close(terminal)
        os.waitpid(pid, 0)


def listed(terminal: int, line: str) -> set[str]:
    os.write(terminal, f"{line}\t".encode())
    rows = read_until(terminal, f"\n{PROMPT}{line}").splitlines()[1:-1]
    os.write(terminal, KILL.encode())
    return {word.rstrip("/") for row in rows for word in row.split(" -- ")[0].split()}


def read_until(terminal: int, text: str) -> str:
    """Return the output up to a text, without control sequences."""
    found = ""
    while text not in found:
        assert select.select([terminal], [], [], 30)[0], found
        found += os.read(terminal, 4096).decode(errors="replace").replace("\r", "")
        found = re.sub(r"\x1b\[\??[\d;]*[a-zA-Z]", "", found)
    return found


def output(command: list[str], folder: Path) -> str:
    shell = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    assert shell.stderr == ""
    return shell.stdout


SHELLS = {shell.__name__: shell for shell in (bash, zsh, fish)}


@pytest.fixture(params=SHELLS)
def complete(
    request: pytest.FixtureRequest, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Callable[..., list[set[str]]]:
    """Return a function that asks the shell for the words that may continue each of some lines."""
    if not shutil.which(request.param):
        pytest.skip(f"needs {request.param}")
    with pytest.raises(SystemExit) as ended:
        run(["completion", request.param])
    assert ended.value.code == 0
    for name in ("server.toml", "folder/client.toml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    script = tmp_path / f"completion.{request.param}"
    script.write_text(capsys.readouterr().out)
    return lambda *lines: SHELLS[request.param](script, lines)


@pytest.mark.interop
def test_a_shell_completes_commands_options_and_choices(complete: Callable[..., list[set[str]]]) -> None:
    included = {
        "backhaul ": COMMANDS,
        "backhaul service ": {"install", "uninstall", "status"},
        "backhaul -c status service ": {"install", "uninstall", "status"},  # a file named "status"
        "backhaul completion ": {"bash", "zsh", "fish"},
        "backhaul connections --sort ": {"age", "user"},
    }
    exact = {
        "backhaul ser": {"server", "service"},
        "backhaul service status --": {"--help", "--name"},
        "backhaul status --js": {"--json"},
    }
    found = dict(zip((*included, *exact), complete(*included, *exact), strict=True))
    assert {line: found[line] & words for line, words in included.items()} == included
    assert {line: found[line] for line in exact} == exact


@pytest.mark.interop
def test_files_and_directories_are_completed(complete: Callable[..., list[set[str]]]) -> None:
    *files, directories = complete(
        "backhaul -c ",
        "backhaul check --strict ",
        "backhaul -c server.toml -c ",
        "backhaul check -c server.toml -c ",
        "backhaul cert --out ",
    )
    assert all({"server.toml", "folder"} <= offered for offered in files)
    assert directories == {"folder"}

"""The completions, in the shells that they are for."""

import os
import pty
import re
import select
import shlex
import shutil
import subprocess
from collections.abc import Callable
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
    "completion",
}
PROMPT = "ready> "


def bash(script: Path, line: str) -> set[str]:
    """Call the function as bash does at a terminal; files are what it would offer on ``compopt``."""
    words = shlex.split(line) + [""] * line.endswith(" ")
    lines = [
        "compopt() { [[ $2 == default ]] && kind=-f || kind=-d; }; kind=",
        f"source {shlex.quote(str(script))}",
        f"COMP_WORDS=({shlex.join(words)}); COMP_CWORD={len(words) - 1}",
        '_backhaul; printf "%s\\n" "${COMPREPLY[@]}"',
        f'[[ ! $kind ]] || compgen "$kind" -- {shlex.quote(words[-1])}',
    ]
    return set(output(["bash", "--norc", "-c", "\n".join(lines)], script.parent).split())


def fish(script: Path, line: str) -> set[str]:
    command = f"source {shlex.quote(str(script))}; complete -C {shlex.quote(line)}"
    rows = output(["fish", "--no-config", "-c", command], script.parent).splitlines()
    return {row.split("\t")[0].rstrip("/") for row in rows}


def zsh(script: Path, line: str) -> set[str]:
    """Press Tab in a terminal, and read the list."""
    settings = "autoload -U compinit; compinit -D -u; bindkey '^I' list-choices; unsetopt list_types; LISTMAX=1000"
    (script.parent / ".zshrc").write_text(f"{settings}\nsource {shlex.quote(str(script))}\n")
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(script.parent)
        os.execvpe("zsh", ["zsh", "-d", "-i"], os.environ | {"TERM": "dumb", "PS1": PROMPT, "ZDOTDIR": "."})  # noqa: S606
    try:
        read_until(terminal, PROMPT)
        os.write(terminal, f"{line}\t".encode())
        rows = read_until(terminal, f"\n{PROMPT}{line}").splitlines()[1:-1]
    finally:
        os.close(terminal)
        os.waitpid(pid, 0)
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
) -> Callable[[str], set[str]]:
    """Return a function that asks the shell for the words that may continue a line."""
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
    return lambda line: SHELLS[request.param](script, line)


@pytest.mark.interop
def test_a_shell_completes_commands_options_choices_and_files(complete: Callable[[str], set[str]]) -> None:
    assert complete("backhaul ") >= COMMANDS
    assert complete("backhaul ser") == {"server", "service"}
    assert complete("backhaul service ") >= {"install", "uninstall", "status"}
    assert complete("backhaul -c status service ") >= {"install", "uninstall", "status"}  # a file named "status"
    assert complete("backhaul service status --") == {"--help", "--name"}
    assert complete("backhaul status --js") == {"--json"}
    assert complete("backhaul completion ") >= {"bash", "zsh", "fish"}
    assert {"age", "user"} <= complete("backhaul connections --sort ")
    assert {"server.toml", "folder"} <= complete("backhaul -c ")
    assert {"server.toml", "folder"} <= complete("backhaul check --strict ")
    assert {"server.toml", "folder"} <= complete("backhaul -c server.toml -c ")
    assert {"server.toml", "folder"} <= complete("backhaul check -c server.toml -c ")


@pytest.mark.interop
def test_a_directory_is_completed_with_directories(complete: Callable[[str], set[str]]) -> None:
    assert complete("backhaul cert --out ") == {"folder"}

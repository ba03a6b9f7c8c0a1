"""The differences of the program with Python inside."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HOOK = f"""\
import os, runpy
os.chdir("/")
runpy.run_path({str(ROOT / "release" / "runtime_hook.py")!r})
print(*sorted(f"{{name}}={{value}}" for name, value in os.environ.items()), os.getpid(), sep="\\n")
"""
PACKED = "import sys; sys.frozen = True; sys.executable = {executable!r}; sys.prefix = {prefix!r}"
SHOW = "from backhaul.system import program; print(program.command(), program.FORKS, program.files(), sep='\\n')"


def environment(**given: str) -> tuple[dict[str, str], str]:
    """Return the environment after the hook, and the program's pid."""
    run = subprocess.run([sys.executable, "-c", HOOK], env=given, capture_output=True, text=True, check=True)
    *rows, pid = run.stdout.splitlines()
    return dict(row.split("=", 1) for row in rows), pid


def test_programs_of_the_system_find_their_own_libraries() -> None:
    assert "LD_LIBRARY_PATH" not in environment(LD_LIBRARY_PATH="/x/_MEI")[0]
    found, _ = environment(LD_LIBRARY_PATH="/x/_MEI:/opt", LD_LIBRARY_PATH_ORIG="/opt")
    assert found["LD_LIBRARY_PATH"] == "/opt"


@pytest.mark.parametrize("name", ["LISTEN_PID", "WATCHDOG_PID"])
def test_settings_of_the_manager_for_the_parent_are_accepted(name: str) -> None:
    found, pid = environment(**{name: str(os.getpid())})
    assert found[name] == pid
    assert environment(**{name: "1"})[0][name] == "1"  # of another program


def test_authorities_that_are_named_stay() -> None:
    assert environment(SSL_CERT_FILE="/a.pem")[0]["SSL_CERT_FILE"] == "/a.pem"
    assert "SSL_CERT_FILE" not in environment(SSL_CERT_DIR="/a")[0]


def program(executable: str, prefix: str) -> list[str]:
    start = PACKED.format(executable=executable, prefix=prefix)
    run = subprocess.run(
        [sys.executable, "-c", f"{start}; {SHOW}"],
        env={"PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=True,
    )
    return run.stdout.splitlines()


def test_one_file_starts_itself_and_forks() -> None:
    command, forks, files = program("/usr/local/bin/backhaul", "/x/_MEI123")
    assert command == "('/usr/local/bin/backhaul',)"
    assert forks == "True"
    assert "_MEI" not in files


def test_a_directory_starts_its_program_and_does_not_fork() -> None:
    command, forks, _ = program("/usr/lib/backhaul/backhaul", "/usr/lib/backhaul/_internal")
    assert command == "('/usr/lib/backhaul/backhaul',)"
    assert forks == "False"

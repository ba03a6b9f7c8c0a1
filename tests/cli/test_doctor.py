"""The command ``backhaul doctor``."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.support.documents import documents
from tests.support.net import HOST, free_port
from tests.support.public import Public

from backhaul.cli.main import run
from backhaul.cli.programs import is_root
from backhaul.doctor.finding import Finding, Verdict
from backhaul.doctor.report import PLAIN_SIGNS, SIGNS, render
from backhaul.system import status_socket


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory with the sockets of this test, and no others."""
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path))
    monkeypatch.setattr("backhaul.system.programs.sockets", lambda: sorted(tmp_path.glob("*.sock")))
    return tmp_path


@pytest.fixture
def doctor(folder: Path, capfd: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    async def ask(*arguments: str | Path) -> tuple[int, str, str]:
        """Run the command beside this test; return exit code, output and errors."""
        code = await asyncio.to_thread(execute, *map(str, arguments))
        return code, *capfd.readouterr()

    return ask


def execute(*arguments: str) -> int:
    with pytest.raises(SystemExit) as end:
        run(["doctor", *arguments])
    assert isinstance(end.value.code, int)
    return end.value.code


def client(folder: Path, port: int, name: str = "client.toml") -> Path:
    file = folder / name
    file.touch(0o600)
    file.write_text(
        f'[client]\nremote_addr = "{HOST}:{port}"\ntransport = "tcp"\ntoken = "s3cret"\nsecurity = "required"\n'
    )
    return file


async def test_a_client_that_fits(doctor: Callable[..., Any], public: Public, folder: Path) -> None:
    code, output, errors = await doctor("-c", client(folder, public.port))
    assert (code, errors) == (0, "")
    assert f"client, transport tcp, dials {HOST}:{public.port}\n\n" in output
    assert f"✓ tcp          {HOST}:{public.port}: connected in " in output
    assert "✓ handshake    token and transport tcp fit" in output
    assert output.endswith("0 faults, 1 warning\n")  # the short token of the tests


async def test_a_fault_is_exit_code_1(doctor: Callable[..., Any], folder: Path) -> None:
    port = free_port()
    code, output, errors = await doctor("-c", client(folder, port))
    assert (code, errors) == (1, "")
    line, remedy = output[output.index("✗ tcp") :].splitlines()[:2]
    assert line == f"✗ tcp          {HOST}:{port}: refused: nothing listens on this port"
    assert remedy == "               > start the server, or correct the address and its port"


async def test_json(doctor: Callable[..., Any], folder: Path) -> None:
    file = client(folder, free_port())
    code, output, _ = await doctor("-c", file, "--json")
    document = json.loads(output)
    assert code == 1
    assert (document["config"], document["side"], document["transport"]) == (str(file), "client", "tcp")
    (found,) = [finding for finding in document["findings"] if finding["subject"] == "tcp"]
    assert found["verdict"] == "fault"
    assert found["remedy"] == "start the server, or correct the address and its port"


async def test_a_wrong_file_is_exit_code_2(doctor: Callable[..., Any], folder: Path) -> None:
    file = folder / "wrong.toml"
    file.write_text('[client]\ntransport = "tcp"\n')
    code, output, errors = await doctor("-c", file)
    assert (code, output) == (2, "")
    assert errors.startswith(f"{file}: client.remote_addr: missing")


class TestWithoutFile:
    def serving(self, file: Path) -> Any:  # noqa: ANN401 - an asynchronous context
        status = {"config": str(file), "connected": True, "version": "0", "started": 0, "ports": []}
        return status_socket.serving(status_socket.socket_path(file), documents(lambda: status))

    async def test_the_only_program_is_meant(self, doctor: Callable[..., Any], folder: Path) -> None:
        file = client(folder, free_port())
        async with self.serving(file):
            code, output, _ = await doctor()
        assert code == 1
        assert output.startswith(f"{file}: client")
        assert "✓ program      connected to" in output

    async def test_a_broken_answer_is_a_fault(self, doctor: Callable[..., Any], folder: Path) -> None:
        file = client(folder, free_port())
        path = status_socket.socket_path(file)
        async with status_socket.serving(path, documents(lambda: "no object")):
            code, output, _ = await doctor("-c", file)
        assert code == 1
        assert f"✗ program      {path}: broken answer: " in output

    async def test_several_run(self, doctor: Callable[..., Any], folder: Path) -> None:
        one, two = client(folder, 1, "one.toml"), client(folder, 1, "two.toml")
        async with self.serving(one), self.serving(two):
            line = f"several programs run: name the file of one with -c: {one}, {two}\n"
            assert await doctor() == (2, "", line)

    async def test_nothing_runs(self, doctor: Callable[..., Any]) -> None:
        which = "" if is_root() else " that you may ask"
        line = f"no program{which} runs on this machine; name a file: backhaul doctor -c FILE\n"
        assert await doctor() == (2, "", line)


FINDINGS = [
    Finding("name", Verdict.OK, "fine"),
    Finding("target", Verdict.FAULT, "bad\x1b[31m", "mend it"),
    Finding("target", Verdict.SKIPPED, "unknown"),
]


def test_columns_are_aligned_and_text_from_outside_is_escaped() -> None:
    assert render(FINDINGS, SIGNS).splitlines() == [
        "✓ name    fine",
        r"✗ target  bad\x1b[31m",
        "          > mend it",
        "-         unknown",
        "",
        "1 fault, 0 warnings",
    ]


def test_plain_signs_for_other_terminals() -> None:
    assert render(FINDINGS, PLAIN_SIGNS).isascii()
    assert render(FINDINGS, PLAIN_SIGNS).startswith("ok name    fine\nX  target  bad")


def test_the_signs_fit_the_terminal(folder: Path) -> None:
    command: list[str | Path] = [sys.executable, "-m", "backhaul", "doctor", "-c", client(folder, free_port())]
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    assert b"\nX  tcp" in subprocess.run(command, env=environment, capture_output=True, check=False).stdout


@pytest.mark.parametrize("text", ["", "0", "x", "80=host:0", "80=a:b:80"])
async def test_throughput_needs_a_port_and_a_target(doctor: Callable[..., Any], text: str) -> None:
    code, _, errors = await doctor("--throughput", text)
    assert code == 2
    assert "argument --throughput: " in errors

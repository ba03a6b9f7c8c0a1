"""FIFOs, devices and huge files in the place of those that a configuration consists of."""

import os
from pathlib import Path

import pytest
from tests.support.config import CLIENT, PORTS, SERVER, client, problems

from backhaul.config import ConfigError, load, load_usable

TLS = {"tls_cert": os.devnull, "tls_key": os.devnull}
PAGE = {"web_cert": os.devnull, "web_key": os.devnull, "web_client_ca": os.devnull}


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    """A FIFO without a writer, which a plain open(2) would wait for."""
    os.mkfifo(tmp_path / "fifo")
    return tmp_path / "fifo"


def file_with(folder: Path, text: str) -> Path:
    file = folder / "server.toml"
    file.touch(0o600)
    file.write_text(text)
    return file


def test_a_file_that_is_no_configuration_costs_no_memory(tmp_path: Path) -> None:
    file = file_with(tmp_path, "")
    os.truncate(file, 1 << 40)
    with pytest.raises(ConfigError) as caught:
        load(file)
    assert caught.value.problems == (f"{file}: larger than 16 MB; name a file of this program",)


def test_a_configuration_from_a_pipe() -> None:
    out, into = os.pipe()
    os.write(into, CLIENT.encode())
    os.close(into)
    assert load(f"/dev/fd/{out}").transport == client("").transport
    os.close(out)


@pytest.mark.parametrize("key", [*TLS, *PAGE])
def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(key: str, fifo: Path) -> None:
    lines = "".join(f'{name} = "{file}"\n' for name, file in (TLS | PAGE | {key: str(fifo)}).items())
    (problem,) = problems(f"{SERVER.replace('tcp', 'wss')}web_port = 2060\n{lines}")
    assert problem == f'server.{key}: cannot read "{fifo}": a pipe, not a file; correct the path or its permissions'


def wss(**files: str) -> str:
    lines = "".join(f'{key} = "{file}"\n' for key, file in (TLS | files).items())
    return SERVER.replace("tcp", "wss") + PORTS + lines


def test_a_relative_name_is_shown_with_its_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (problem,) = problems(wss(tls_key="here.key"))
    assert f'tls_key: cannot read "here.key" in {tmp_path}: No such file or directory; ' in problem
    (problem,) = problems('[client]\nremote_addr = "192.0.2.1:3080"\ntransport = "tcp"\ntoken_file = "tokens"\n')
    assert f'token_file: cannot read "tokens" in {tmp_path}: ' in problem


def test_a_relative_name_in_a_removed_directory_is_shown_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    (problem,) = problems(wss(tls_key="here.key"))
    assert 'tls_key: cannot read "here.key": No such file or directory; ' in problem


def test_a_pipe_in_the_place_of_tokens_is_not_waited_for(fifo: Path) -> None:
    (problem,) = problems(f'[client]\nremote_addr = "192.0.2.1:3080"\ntransport = "tcp"\ntoken_file = "{fifo}"\n')
    assert problem.startswith(f'client.token_file: cannot read "{fifo}": a pipe, not a file; ')


def test_a_list_of_networks_that_never_ends_is_named_once(fifo: Path, tmp_path: Path) -> None:
    for path, words in {fifo: "a pipe, not a file", "/dev/zero": "larger than 16 MB"}.items():
        with pytest.raises(ConfigError, match=words) as caught:
            load_usable(file_with(tmp_path, f'{SERVER}{PORTS}[server.limits]\ndeny_file = "{path}"\n'))
        assert len(caught.value.problems) == 1

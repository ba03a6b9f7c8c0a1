"""The keys of the page's TLS: what they need, and the files that they name."""

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support.authority import SERVER as SERVER_AUTH
from tests.support.authority import Authority
from tests.support.config import CLIENT, PORTS, SERVER, client, problems

from backhaul.config import ConfigError
from backhaul.config.loader import load, load_usable

PAGE = "web_port = 2060\n"


def lines(cert: object = "", key: object = "", ca: object = "") -> str:
    named = {"web_cert": cert, "web_key": key, "web_client_ca": ca}
    return PAGE + "".join(f'{name} = "{file}"\n' for name, file in named.items() if file)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority.make(tmp_path)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('web_cert = "/dev/null"', "client.web_key: missing; web_cert needs one, or remove web_cert"),
        ('web_key = "/dev/null"', "client.web_cert: missing; web_key needs one, or remove web_key"),
        ('web_client_ca = "/dev/null"', "client.web_client_ca: needs web_cert and web_key, because only TLS has"),
    ],
)
def test_a_key_that_needs_another(text: str, problem: str) -> None:
    [found] = problems(CLIENT + PAGE + text)
    assert found.startswith(problem)


def test_files_that_are_missing(tmp_path: Path) -> None:
    none = tmp_path / "none"
    text = lines(none, none, none)
    assert problems(CLIENT + text) == tuple(
        f'client.{name}: cannot read "{none}": No such file or directory; correct the path or its permissions'
        for name in ("web_cert", "web_key", "web_client_ca")
    )
    assert client(text.replace(PAGE, "")).page_files == {}  # without a page nothing reads them


def mismatch(authority: Authority) -> str:
    return lines(authority.issue("one").cert, authority.issue("two").key)


def no_authority(authority: Authority) -> str:
    pair = authority.issue("page", (SERVER_AUTH,))
    return lines(*pair, pair.cert)


def no_certificate(authority: Authority) -> str:
    pair = authority.issue("page", (SERVER_AUTH,))
    return lines(*pair, pair.key)


@pytest.mark.parametrize("side", [SERVER + PORTS, CLIENT])
@pytest.mark.parametrize(
    ("make", "start", "remedy"),
    [
        (mismatch, "web_cert: unusable with web_key: the key belongs to another", "name the files of one pair"),
        (no_authority, "web_client_ca: it contains no certificate of an authority", "name a PEM file of the auth"),
        (no_certificate, "web_client_ca: ", "name a PEM file of the authorities that issue client certificates"),
    ],
)
def test_files_that_are_unusable(
    side: str, make: Callable[[Authority], str], start: str, remedy: str, authority: Authority
) -> None:
    """A reload may find them half renewed, so only the start and ``check`` look."""
    file = authority.folder / "end.toml"
    file.write_text(side + make(authority))
    load(file)
    with pytest.raises(ConfigError) as caught:
        load_usable(file)
    [problem] = caught.value.problems
    assert problem.startswith(f"{file}: {side[1:7]}.{start}")
    assert f"; {remedy}" in problem


def test_files_that_are_usable(authority: Authority) -> None:
    file = authority.folder / "end.toml"
    pair = authority.issue("page", (SERVER_AUTH,))
    file.write_text(CLIENT + lines(*pair, authority.file))
    file.chmod(0o600)
    config = load_usable(file)
    assert config.page_files == {"web_cert": pair.cert, "web_key": pair.key, "web_client_ca": str(authority.file)}


@pytest.mark.parametrize("certificates", [False, True])
def test_a_page_is_open_without_login_and_client_certificates(authority: Authority, *, certificates: bool) -> None:
    pair = authority.issue("page", (SERVER_AUTH,))
    config = client(lines(*pair, authority.file if certificates else ""))
    assert [warning.partition(":")[0] for warning in config.warnings] == ["web_port"] * (not certificates)

"""Unix sockets in the keys that name an address."""

from pathlib import Path

import pytest
from tests.support.config import client, problems, server

from backhaul.config import Address, ServerConfig
from backhaul.config.loader import parse

HEAD = '[server]\ntoken = "0123456789abcdef"\n'


def test_the_address_of_the_tunnel(tmp_path: Path) -> None:
    config = parse(f'{HEAD}transport = "ws"\nbind_addr = "unix:{tmp_path}/a"\nports = ["443"]')
    assert isinstance(config, ServerConfig)
    assert config.bind_addr == Address(f"{tmp_path}/a", 0)
    assert str(config.bind_addr) == f"unix:{tmp_path}/a"
    assert config.warnings == ()


@pytest.mark.parametrize(
    ("lines", "page"),
    [
        ("", None),
        ('web_bind = "::1"', None),
        ("web_port = 2060", Address("0.0.0.0", 2060)),
        ('web_bind = "unix:/run/page"', Address("/run/page", 0)),
        ('web_bind = "unix:/run/page"\nweb_port = 2060', Address("/run/page", 0)),
    ],
)
def test_the_page(lines: str, page: Address | None) -> None:
    config = server(f'ports = ["443"]\n{lines}')
    assert config.page == client(lines).page == page
    assert bool(config.warnings) == (page is not None and not page.is_path)  # only a port needs a password


@pytest.mark.parametrize("path", ["unix:app.sock", "unix:", "unix:/run/" + "x" * 103, "unix:/run/"])
def test_refused_paths(path: str) -> None:
    [bind] = problems(f'{HEAD}transport = "tcp"\nbind_addr = "{path}"')
    assert bind.startswith("server.bind_addr: expected host:port or unix:/path, such as")
    [page] = problems(f'[client]\nremote_addr = "a:1"\ntransport = "tcp"\nweb_bind = "{path}"')
    assert page.startswith("client.web_bind: expected an IP address, a host name or unix:/path, got")
    assert all("the path of a Unix socket" in problem for problem in (bind, page))


@pytest.mark.parametrize(
    ("lines", "complaint"),
    [
        ('ports = ["unix:/run/a=1"]', "ports: unix:/run/a is taken by bind_addr unix:/run/a; choose another"),
        ('web_bind = "unix:/run/a"', "web_bind: unix:/run/a is taken by bind_addr unix:/run/a; choose another"),
        ('ports = ["unix:/run/b=1"]\nweb_bind = "unix:/run/b"', "web_bind: unix:/run/b is listed in ports too; choose"),
        (
            'ports = ["unix:/run/b=1", "unix:/run/b=2"]',
            'ports: entry "unix:/run/b=2": listens on unix:/run/b, as entry',
        ),
    ],
)
def test_two_listeners_on_one_path_are_refused(lines: str, complaint: str) -> None:
    [problem] = problems(f'{HEAD}transport = "tcp"\nbind_addr = "unix:/run/a"\n{lines}')
    assert problem.startswith(f"server.{complaint}")


def test_paths_are_case_sensitive() -> None:
    assert len(server('ports = ["unix:/run/a=1", "unix:/run/A=1"]').ports) == 2


@pytest.mark.parametrize(
    ("bind", "port", "complaint"),
    [
        ("unix:/run/a", "443", "bind_addr: transport udp can't use unix:/run/a; name a host and a port"),
        (":3080", "unix:/run/a=443", "ports: transport udp can't use unix:/run/a; name a port"),
        (":3080", "443=unix:/run/a", "ports: transport udp can't use unix:/run/a; name a port"),
    ],
)
def test_paths_are_refused_on_udp(bind: str, port: str, complaint: str) -> None:
    [problem] = problems(f'{HEAD}transport = "udp"\nbind_addr = "{bind}"\nports = ["{port}"]')
    assert problem.startswith(f"server.{complaint}")


def test_a_missing_directory(tmp_path: Path) -> None:
    folder = tmp_path / "none"
    lines = f'ports = ["unix:{folder}/a=1"]\nweb_bind = "unix:{folder}/b"'
    config = parse(f'{HEAD}transport = "tcp"\nbind_addr = "unix:{folder}/c"\n{lines}')
    assert config.warnings == tuple(
        f"{key}: no directory {folder} for unix:{folder}/{name}; make it, or correct the path"
        for key, name in (("web_bind", "b"), ("bind_addr", "c"), ("ports", "a"))
    )

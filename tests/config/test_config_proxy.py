"""The key ``proxy``: URLs, mistakes that never show the password, and the environment, which counts only if asked."""

import os
import sys
from pathlib import Path

import pytest
from tests.support.config import CLIENT, client, problems

from backhaul.cli.check import render
from backhaul.config import ClientConfig, ConfigError, Secret, load
from backhaul.config.diff import diff
from backhaul.config.loader import parse
from backhaul.net.proxy import Proxy

ASKED = f'{CLIENT}proxy = "environment"'


def way(text: str, **variables: str) -> Proxy | None:
    config = parse(text, variables)
    assert isinstance(config, ClientConfig)
    return config.way


@pytest.mark.parametrize(
    ("url", "proxy"),
    [
        ("http://proxy.example:3128", Proxy("http", "proxy.example", 3128)),
        ("http://me:gold%2Ffish%40@proxy.example:3128/", Proxy("http", "proxy.example", 3128, "me", "gold/fish@")),
        ("http://me@proxy.example", Proxy("http", "proxy.example", 80, "me")),
        ("https://proxy.example", Proxy("https", "proxy.example", 443)),
        ("socks5://[2001:db8::1]:1081", Proxy("socks5", "2001:db8::1", 1081)),
        ("SOCKS5H://me:goldfish@192.0.2.7", Proxy("socks5h", "192.0.2.7", 1080, "me", "goldfish")),
    ],
)
def test_urls(url: str, proxy: Proxy) -> None:
    assert way(f'{CLIENT}proxy = "{url}"') == proxy


@pytest.mark.parametrize(
    ("url", "mistake"),
    [
        ("proxy.example:3128", "it begins with"),
        ("ftp://goldfish@proxy.example", "it begins with"),
        ("http://me:gold/fish@proxy.example", "a port is a number|only a port may follow"),
        ("http://me:gold#fish@proxy.example", "only a port may follow"),
        ("http://me:gold fish@proxy.example", "a space or a control character"),
        ("http://me:gold\\tfish@proxy.example", "a space or a control character"),
        ("http://me:goldfish@[proxy.example", "it is no URL"),
        ("http://me:goldfish@proxy.example:99999", "a port is a number"),
        ("http://me:goldfish@proxy.example:0", "a port is a number"),
        ("http://me:goldfish@256.1", "neither an IP address nor a host name"),
        ("http://:goldfish@proxy.example", "a user name precedes the password"),
        ("http://m%3Ae:goldfish@proxy.example", "holds no colon"),
        ("socks5://goldfish@proxy.example", "both a user name and a password"),
        ("socks5://me:goldf\\u00efsh@proxy.example", "ASCII letters only"),
        (f"socks5://me:{'goldfish' * 40}@proxy.example", "at most 255"),
    ],
)
def test_mistakes_do_not_show_the_password(url: str, mistake: str) -> None:
    [problem] = problems(f'{CLIENT}proxy = "{url}"')
    assert problem.startswith('client.proxy: expected "environment" or a URL such as "http://user:password@host:port"')
    assert any(part in problem for part in mistake.split("|"))
    assert not any(part in problem for part in ("gold", "fish"))


def test_nothing_shows_the_password() -> None:
    config = client('proxy = "http://me:goldfish@proxy.example:3128"')
    shown = render(config)
    assert "goldfish" not in repr(config) + str(config.way) + repr(config.way) + shown
    assert shown.startswith("client, transport tcp, dials example.com:3080 via http://proxy.example:3128\n")
    assert "  proxy = ***" in shown.splitlines()
    assert config.proxy == Secret("http://me:goldfish@proxy.example:3128")


def test_a_file_with_a_password_that_everybody_can_read(tmp_path: Path) -> None:
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    file = tmp_path / "client.toml"
    file.write_text('[client]\nremote_addr = "a:1"\ntransport = "tcp"\nproxy = "http://me:goldfish@b:1"\n')
    file.chmod(0o644)
    warnings = [line for line in load(file).warnings if line.startswith("proxy: every user of this machine can read")]
    assert bool(warnings) == all(path.stat().st_mode & 1 for path in file.parents)
    file.chmod(0o600)
    assert not [line for line in load(file).warnings if line.startswith("proxy")]


def test_udp_passes_no_proxy() -> None:
    text = CLIENT.replace('"tcp"', '"udp"')
    for value in ("http://proxy.example:3128", "environment"):
        assert problems(f'{text}proxy = "{value}"') == (
            "client.proxy: transport udp can't pass a proxy; use another transport, or remove proxy",
        )


def test_a_missing_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "python_socks", None)
    assert way(f'{CLIENT}proxy = "http://proxy.example"') == Proxy("http", "proxy.example", 80)
    assert problems(f'{CLIENT}proxy = "socks5h://proxy.example"') == (
        'client.proxy: socks5h:// requires python-socks; `pip install "backhaul[proxy]"` installs it',
    )


class TestEnvironment:
    def test_it_counts_only_if_asked(self) -> None:
        variables = {"HTTPS_PROXY": "http://proxy.example:3128", "ALL_PROXY": "socks5://proxy.example"}
        assert way(CLIENT, **variables) is None
        assert way(ASKED, **variables) == Proxy("http", "proxy.example", 3128)

    def test_it_is_read_with_the_file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in set(os.environ) & {"https_proxy", "all_proxy", "no_proxy", "NO_PROXY"}:
            monkeypatch.delenv(name)
        monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
        file = tmp_path / "client.toml"
        file.write_text(ASKED)
        config = load(file)
        assert isinstance(config, ClientConfig)
        assert str(config.way) == "http://proxy.example:3128"

    @pytest.mark.parametrize(
        ("variables", "host"),
        [
            ({}, ""),
            ({"HTTP_PROXY": "http://a"}, ""),  # for requests in clear
            ({"HTTPS_PROXY": "", "ALL_PROXY": "http://a"}, "a"),
            ({"HTTPS_PROXY": "http://a", "https_proxy": "http://b"}, "b"),
            ({"all_proxy": "a:3128"}, "a"),
        ],
    )
    def test_the_first_variable_counts(self, variables: dict[str, str], host: str) -> None:
        proxy = way(ASKED, **variables)
        assert (proxy.host if proxy else "") == host

    @pytest.mark.parametrize(
        ("exceptions", "direct"),
        [
            ("*", True),
            ("other.example, example.com", True),
            ("other.example EXAMPLE.com", True),
            ("com", True),
            (".com", True),
            ("*.com", True),
            (".example.com", False),
            ("ample.com", False),
            ("example.com:3080", True),
            ("example.com:443", False),
            ("192.0.2.0/24", False),
            ("", False),
        ],
    )
    def test_exceptions_for_names(self, exceptions: str, direct: bool) -> None:  # noqa: FBT001
        assert (way(ASKED, HTTPS_PROXY="http://a", NO_PROXY=exceptions) is None) == direct

    @pytest.mark.parametrize(
        ("host", "exceptions", "direct"),
        [
            ("192.0.2.7", "192.0.2.7", True),
            ("192.0.2.7", "10.0.0.0/8,192.0.2.0/24", True),
            ("192.0.2.7", "192.0.2.7:3080", True),
            ("192.0.2.7", "192.0.2.7:443", False),
            ("192.0.2.7", "*", True),
            ("192.0.2.7", "192.0.2", False),
            ("[2001:db8::1]", "2001:db8::1", True),
            ("[2001:db8::1]", "[2001:db8::1]:3080", True),
            ("[2001:db8::1]", "[2001:db8::1]:443", False),
            ("[2001:db8::1]", "2001:db8::/32", True),
        ],
    )
    def test_exceptions_for_addresses(self, host: str, exceptions: str, direct: bool) -> None:  # noqa: FBT001
        text = ASKED.replace("example.com", host)
        assert (way(text, HTTPS_PROXY="http://a", NO_PROXY=exceptions) is None) == direct

    def test_the_edge_is_what_is_dialled(self) -> None:
        text = ASKED.replace('"tcp"', '"ws"') + '\nedge_ip = "192.0.2.7"'
        assert way(text, HTTPS_PROXY="http://a", no_proxy="example.com")
        assert not way(text, HTTPS_PROXY="http://a", no_proxy="192.0.2.7")

    def test_a_mistake_names_the_variable_and_not_its_value(self) -> None:
        with pytest.raises(ConfigError) as caught:
            parse(ASKED, {"ALL_PROXY": "ftp://me:goldfish@a"})
        [problem] = caught.value.problems
        assert problem.startswith("client.proxy: the variable ALL_PROXY names no proxy: it begins with")
        assert "fish" not in problem


def test_another_proxy_rebuilds_the_tunnel() -> None:
    change = diff(client(""), client('proxy = "http://a"'))
    assert (change.rebuild, change.changed) == (True, ("proxy",))

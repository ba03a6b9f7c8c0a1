"""Files of other programs, and the files that they become: ``tests/data/convert`` holds both, and the losses."""

import json
import re
import tomllib
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from backhaul.config import ClientConfig, ConfigError, ServerConfig
from backhaul.config.loader import parse
from backhaul.convert import ConvertError, Files, Source, convert
from backhaul.convert.gaps import FRP
from backhaul.system.token import PREFIX

TAKEN = (
    *("serverAddr", "serverPort", "auth.token", "auth.method", "transport.protocol", "transport.tcpMux"),
    *("transport.proxyURL", "webServer.port", "webServer.user", "log.level", "start"),
)
OF_A_PROXY = ("name", "type", "localIP", "localPort", "remotePort", "plugin.type", "transport.bandwidthLimit")
VALUES = (
    *('""', '"tcp"', '"udp"', '"a\\n]b\\""', '"::1"', '"1MB"', '"unix_domain_socket"', "1", "0", "-5", "99999"),
    *("true", "false", "[]", '["a"]', "1.5", "1979-05-27", "{a=1}", "[{a=1}]"),
)
DATA = Path(__file__).parents[1] / "data" / "convert"
CASES = sorted(folder.name for folder in DATA.iterdir())
NEW = f"{PREFIX}a-new-token-of-this-test"
PAGE_OF_INI = "[common]\ndashboard_port = 2\ndashboard_tls_cert_file = a\ndashboard_tls_key_file = b\n"
FILES_OF_A_PAGE = "webServer.tls.certFile = 'a'\nwebServer.tls.keyFile = 'b'"
FROM_A_FILE = "auth.tokenSource.file.path = '/etc/frp/token'"
SECRETS = ("a-password", "a-key-of", "a-secret-of", "spruce", "another-token", "24681357", "123456", NEW)


def converted(case: str) -> Files:
    folder = DATA / case / "in"
    sources = [
        Source(path.read_text().strip(), "" if path.name == "command" else str(path.relative_to(folder)))
        for path in sorted(folder.iterdir())
    ]
    return convert(sources, Tokens())


class Tokens:
    """Makes tokens that differ."""

    def __init__(self) -> None:
        self._made = 0

    def __call__(self) -> str:
        self._made += 1
        return NEW + f"-{self._made}" * (self._made > 1)


@pytest.mark.parametrize("case", CASES)
def test_a_file_becomes_the_one_kept_here(case: str) -> None:
    """After an intended change: ``python -m tests.convert.test_convert`` rewrites them."""
    files = converted(case)
    kept = {path.name: path.read_text() for path in (DATA / case).glob("*.*")}
    assert written(files) == kept


@pytest.mark.parametrize("case", CASES)
def test_the_result_is_sound(case: str, tmp_path: Path) -> None:
    """Only the certificate of wss is missing, which the list of differences asks for."""
    files, there = converted(case), tmp_path / "a-file"
    there.write_text("the content of a file")
    for name, text in files.texts.items():
        config = parse(re.sub(r'"[\w/]+\.(crt|key|token)"', json.dumps(str(there)), text))
        assert isinstance(config, ServerConfig if name == "server.toml" else ClientConfig)
        assert config.security == "required"
        assert {warning.partition(":")[0] for warning in config.warnings} <= {"ports", "token", "web_port"}
    missing = '\ntls_cert = "server.crt"' in files.texts.get("server.toml", "")
    assert missing == any("backhaul cert" in gap.remedy for gap in files.gaps)


@pytest.mark.parametrize("case", CASES)
def test_the_list_of_losses_names_no_secret(case: str) -> None:
    lines = [str(gap) for gap in converted(case).gaps]
    assert [line for line in lines if any(secret in line for secret in SECRETS)] == []
    assert [line for line in lines if not line.isprintable()] == []


@pytest.mark.parametrize(
    ("text", "name", "words"),
    [
        ("", "x.toml", "x.toml: no file of frp, rathole or Backhaul's premium edition"),
        ("a = 1", "x.toml", "x.toml: no file of frp, rathole or Backhaul's premium edition"),
        ("serverPort = 'a-secret-of'", "frpc.toml", "frpc.toml: serverPort: expected a number, got text; correct it"),
        ("proxies = ['a-secret-of']", "frpc.toml", "frpc.toml: proxies: expected tables, got text"),
        (
            "[[proxies]]\nname='x'\nlocalPort=true",
            "frpc.toml",
            "frpc.toml: proxies.x.localPort: expected a number, got true",
        ),
        ("serverAddr = {{ .Envs.SECRET }}", "frpc.toml", "frpc.toml: holds a template"),
        ("serverAddr = a-secret-of", "frpc.toml", "frpc.toml: not valid TOML"),
        ("[common]\n a-secret-of\n[x\n", "frpc.ini", "frpc.ini: line"),
        ("# a comment\n\na-secret-of = x\n[common]\n", "frpc.ini", "frpc.ini: line 3 is no INI; correct it"),
        ("[common]\nb = 1\n\n a-secret-of\na-secret-of\n", "frpc.ini", "frpc.ini: line 5 is no INI; correct it"),
        ("[frpc]\n# below\n[common]x\n\n; [common]\n", "frpc.toml", "frpc.toml: not valid TOML"),
        ("[web]\ntype = tcp\nx = \n [common]", "frpc.ini", "frpc.ini: no section [common]; name a file of frp"),
        ("x = " + "[" * 9999, "frpc.toml", "frpc.toml: not valid TOML"),
        (
            "[server]\ntransport = 'tcp'",
            "server.toml",
            "this is a file of Backhaul; run it with `backhaul -c server.toml`",
        ),
        (
            "[client]\ntransport.type = 'a-secret-of'",
            "c.toml",
            "c.toml: client.transport.type: expected tcp, tls, noise or",
        ),
        ("[ipx]\nmode = 'server'", "iran.toml", "iran.toml: expected [listener] or [dialer]; packets of [ipx] have no"),
        ("[listener]\n[dialer]", "both.toml", "both.toml: expected [listener] or [dialer]"),
        ("[dialer]\n[transport]\ntype = 'a-secret-of'", "k.toml", "k.toml: transport.type: expected one of tcp, "),
        ("[listener]\nbind_addr = 443", "i.toml", "i.toml: listener.bind_addr: expected text, got a number"),
        ("ssh -N host", "", "ssh: expected -R and a host"),
        ("ssh -R 1:2:3", "", "ssh: expected -R and a host"),
        ("ssh -R '1:2:3 host", "", "ssh: no command line of ssh"),
        ("ssh --secret host", "", "ssh: no command line of ssh"),
        ("ssh -R 1:2:3 ssh://", "", "ssh: expected -R and a host"),
        ("ssh -R 1:2:3 ssh://a-secret-of@[::1", "", "ssh: no command line of ssh"),
    ],
)
def test_a_file_without_meaning_is_refused_with_the_remedy(text: str, name: str, words: str) -> None:
    with pytest.raises(ConvertError) as caught:
        convert([Source(text, name)], Tokens())
    line = str(caught.value)
    assert line.startswith(words) or words in line
    assert "a-secret-of" not in line
    assert line.count("\n") == 0


def test_two_tunnels_are_not_mixed() -> None:
    files = {"frpc.toml": "serverAddr='a'\nauth.token='one'", "frps.toml": "bindPort=1\nauth.token='two'"}
    sources = [Source(text, name) for name, text in files.items()]
    with pytest.raises(ConvertError, match="different tokens; convert the files of one tunnel"):
        convert(sources, Tokens())


def test_there_is_one_server() -> None:
    with pytest.raises(ConvertError, match="several files of a server"):
        convert([Source("bindPort=1", "frps.toml"), Source("bindPort=2", "frps.toml")], Tokens())


def test_a_range_that_does_not_fit_its_targets_is_named_by_the_check() -> None:
    text = "[common]\ntoken = spruce\n[range:a]\nlocal_port = 1-2,4\nremote_port = 1-2"
    files = convert([Source(text, "frpc.ini")], Tokens())
    with pytest.raises(ConfigError, match="1-2=1-2,4"):
        parse(files.texts["server.toml"])


def test_clients_have_names_that_differ_and_suit_a_table() -> None:
    users = ["berlin", "berlin", "a.b]\n", ""]
    sources = [Source(f"serverAddr='a'\nuser={json.dumps(user)}", f"x/{user[:1]}.toml") for user in users]
    assert list(convert(sources, Tokens()).texts) == [
        "server.toml",
        *(f"client-{name}.toml" for name in ("berlin", "client2", "client3", "client4")),
    ]


def test_no_name_of_a_client_is_used_twice() -> None:
    sources = [Source("serverAddr='a'", f"{folder}/client2.toml") for folder in "xy"]
    assert list(convert(sources, Tokens()).texts) == ["server.toml", "client-client2.toml", "client-client3.toml"]


@pytest.mark.parametrize(
    ("text", "name", "ends"),
    [
        ("bindPort = 1", "x.toml", ["server"]),
        ("auth.token = 'spruce'", "x/frps.toml", ["server"]),
        ("[common]\nbind_addr = ::", "x.ini", ["server"]),
        ("[common]\ndashboard_port = 7500", "x.ini", ["server"]),
        ("[common]\ntoken = spruce", "x/frps.ini", ["server"]),
        ("[common]\nserver_addr = ::1", "frps/frpc.ini", ["server", "client"]),
        ("[common]\ntoken = spruce\n[web]\nremote_port = 1\nlocal_port = 2", "x.ini", ["server", "client"]),
    ],
)
def test_the_end_of_a_file_is_known_by_its_settings_or_its_name(text: str, name: str, ends: list[str]) -> None:
    assert list(convert([Source(text, name)], Tokens()).texts) == [f"{end}.toml" for end in ends]


@pytest.mark.parametrize(
    ("text", "name", "lines"),
    [
        # INI that is TOML as well, and values in quotes
        ('[common]\nbind_port = 7001\ntoken = "spruce"', "frps.ini", {':7001"', 'token = "spruce"'}),
        ("[common]\nserver_addr = a\ntoken = 'it''s'", "frpc.ini", {"token = \"'it''s'\""}),
        ("[common]\nserver_addr = `a`\nserver_port = '7001'", "frpc.ini", {'bind_addr = "0.0.0.0:7001"'}),
        ("[common]\nserver_addr = a\n[web]\nlocal_port = 1\nremote_port = 2", "frps/frpc.ini", {'"2=1"'}),
        ("bindPort = 1\ntransport.tcpKeepalive = 1", "frps.toml", {"keepalive_period = 1", f'token = "{NEW}"'}),
        (f"webServer.port = 2\n{FILES_OF_A_PAGE}", "frps.toml", {'web_cert = "a"', 'web_key = "b"'}),
        ("[server]\nbind_addr = ':1'\ntransport.type = 'websocket'", "s.toml", {'transport = "ws"'}),
        ("bindPort = 1\nwebServer.port = 2\nwebServer.tls.keyFile = 'x'", "frps.toml", {"web_port = 2"}),
    ],
)
def test_a_setting_becomes_a_line(text: str, name: str, lines: set[str]) -> None:
    found = convert([Source(text, name)], Tokens()).texts["server.toml"]
    assert [line for line in lines if line not in found] == []


@pytest.mark.parametrize(
    ("text", "name", "key"),
    [
        ("bindPort = 1\ntransport.tcpKeepalive = -1", "frps.toml", "keepalive_period"),
        ("bindPort = 1\nwebServer.port = 2\nwebServer.tls.keyFile = 'x'", "frps.toml", "web_key"),
        (f"{PAGE_OF_INI}dashboard_tls_mode = false", "frps.ini", "web_cert"),
    ],
)
def test_a_setting_without_effect_becomes_none(text: str, name: str, key: str) -> None:
    assert key not in convert([Source(text, name)], Tokens()).texts["server.toml"]


def test_a_page_without_a_login_is_no_loss() -> None:
    assert all(
        "webServer" not in gap.key for gap in convert([Source("webServer.port = 2", "frps.toml")], Tokens()).gaps
    )


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_port_for_tcp_and_udp_has_the_settings_of_both(order: tuple[int, int]) -> None:
    proxies = [
        "[[proxies]]\nlocalPort = 1\nremotePort = 2\ntransport.proxyProtocolVersion = 'v2'",
        "[[proxies]]\nlocalPort = 1\nremotePort = 2\ntype = 'udp'\ntransport.bandwidthLimit = '1MB'",
    ]
    text = "\n".join(["serverAddr = 'a'", *(proxies[number] for number in order)])
    server = convert([Source(text, "frpc.toml")], Tokens()).texts["server.toml"]
    for line in ('proxy_protocol = "v2"', "accept_udp = true", "rate = 8388608"):
        assert line in server


@pytest.mark.parametrize(("rate", "gaps"), [("1MB", []), ("2MB", ["TCP and UDP of port 443 share one rate"])])
def test_tcp_and_udp_of_a_port_may_lead_to_different_targets(rate: str, gaps: list[str]) -> None:
    text = (
        "serverAddr = 'a'\n"
        "[[proxies]]\nlocalPort = 8443\nremotePort = 443\ntransport.bandwidthLimit = '1MB'\n"
        f"[[proxies]]\ntype = 'udp'\nlocalPort = 443\nremotePort = 443\ntransport.bandwidthLimit = '{rate}'"
    )
    files = convert([Source(text, "frpc.toml")], Tokens())
    server = files.texts["server.toml"]
    assert '"443/tcp=8443",' in server
    assert '"443/udp",' in server
    assert server.count("[server.limits.443]") == 1
    assert [gap.reason for gap in files.gaps if "443" in gap.reason] == gaps
    assert parse(server.replace('bind_addr = "', 'bind_addr = "'))


def test_tcp_of_all_addresses_leaves_udp_of_one_to_another_service() -> None:
    server = "[server]\nbind_addr = '0.0.0.0:2333'\ndefault_token = 'abcdefgh12345678'\n"
    client = "[client]\nremote_addr = 'a.b:2333'\ndefault_token = 'abcdefgh12345678'\n"
    for name, kind, host in (("web", "tcp", "0.0.0.0"), ("dns", "udp", "127.0.0.1")):
        server += f"[server.services.{name}]\ntype = '{kind}'\nbind_addr = '{host}:53'\n"
        client += f"[client.services.{name}]\ntype = '{kind}'\nlocal_addr = '10.0.0.1:53'\n"
    files = convert([Source(server, "s.toml"), Source(client, "c.toml")], Tokens())
    config = parse(files.texts["server.toml"])
    assert isinstance(config, ServerConfig)
    assert [mapping.bind for mapping in config.ports] == ["53/tcp", "127.0.0.1:53/udp"]


@pytest.mark.parametrize(
    ("one", "other", "gap"),
    [
        ("transport.bandwidthLimit = '1MB'", "transport.bandwidthLimit = '2MB'", "share one rate"),
        ("", "transport.proxyProtocolVersion = 'v2'", "PROXY protocol header"),
        ("transport.bandwidthLimit = '1MB'", "", ""),
    ],
)
def test_what_differs_between_the_clients_of_a_group_is_a_gap(one: str, other: str, gap: str) -> None:
    head = "serverAddr = 'a'\n[[proxies]]\nname = 'web'\nlocalPort = 80\nremotePort = 443\n"
    head += "loadBalancer.group = 'g'\nloadBalancer.groupKey = 'k'\n"
    files = convert([Source(head + one, "x/frpc.toml"), Source(head + other, "y/frpc.toml")], Tokens())
    gaps = [each.key for each in files.gaps if "of port 443" in each.reason and gap in each.reason]
    assert gaps == (["y/frpc.toml: proxies.web.remotePort"] if gap else [])


def test_udp_of_a_port_joins_no_second_target_for_tcp() -> None:
    text = "serverAddr = 'a'\nauth.token = 'abcdefgh12345678'\n"
    for kind, target in (("tcp", 80), ("udp", 81), ("tcp", 81)):
        text += f"[[proxies]]\nname = '{kind}{target}'\ntype = '{kind}'\nlocalPort = {target}\nremotePort = 443\n"
    files = convert([Source(text, "frpc.toml")], Tokens())
    config = parse(files.texts["server.toml"])
    assert isinstance(config, ServerConfig)
    assert [(mapping.bind, mapping.target) for mapping in config.ports] == [("443/tcp", "80"), ("443/udp", "81")]
    assert [gap.key for gap in files.gaps if "443 leads to 80" in gap.reason] == ["frpc.toml: proxies.tcp81.remotePort"]


def test_a_group_of_ini_may_have_a_number() -> None:
    text = "[common]\nserver_addr = a.b\n[web]\nlocal_port = 1\nremote_port = 2\ngroup = 7\ngroup_key = 8"
    files = convert([Source(text, f"{name}/frpc.ini") for name in "xy"], Tokens())
    assert "[server.groups.7]" in files.texts["server.toml"]


@pytest.mark.parametrize("token", ["", "auth.token = 'spruce'\n"])
def test_each_of_several_clients_has_a_token_in_its_own_file(token: str) -> None:
    """The server could not tell clients apart by the token in one file."""
    sources = [Source(f"{token}serverAddr = 'a'", "x.toml"), Source("serverAddr = 'a'\n" + FROM_A_FILE, "y.toml")]
    texts = convert(sources, Tokens()).texts
    for name, made in (("x", NEW), ("y", f"{NEW}-2")):
        assert f'token = "{made}"' in texts[f"client-{name}.toml"]
        assert f'[server.clients.{name}]\ntoken = "{made}"' in texts["server.toml"]
    assert all("token_file" not in text for text in texts.values())


def test_a_token_of_one_file_is_preferred_to_the_name_of_another() -> None:
    sources = [Source("serverAddr = 'a'\nauth.token = 'spruce'", "frpc.toml"), Source(FROM_A_FILE, "frps.toml")]
    for text in convert(sources, Tokens()).texts.values():
        assert 'token = "spruce"' in text
        assert "token_file" not in text


@given(st.text(alphabet="ssh -Ro:[]/@1²a'\"\n\0=", max_size=40))
@example("1:2:3 ssh://[::1")
@example("1:2:3 -oConnectTimeout=² host")
@example("/run/x.sock host")
def test_no_command_line_makes_a_traceback(rest: str) -> None:
    try:
        assert convert([Source(f"ssh -R {rest}")], Tokens())
    except ConvertError:
        return


@given(
    st.dictionaries(st.sampled_from([*FRP, *TAKEN]), st.sampled_from(VALUES), max_size=8),
    st.lists(st.dictionaries(st.sampled_from(OF_A_PROXY), st.sampled_from(VALUES), max_size=6), max_size=3),
)
def test_no_file_makes_a_traceback_or_a_file_that_is_no_toml(
    settings: dict[str, str], proxies: list[dict[str, str]]
) -> None:
    lines = [f"{name} = {value}" for name, value in settings.items()]
    for proxy in proxies:
        lines += ["[[proxies]]", *(f"{name} = {value}" for name, value in proxy.items())]
    try:
        found = convert([Source("\n".join(lines), "frpc.toml")], Tokens())
    except ConvertError:
        return
    for text in found.texts.values():
        tomllib.loads(text)


def written(files: Files) -> dict[str, str]:
    gaps = "".join(f"{gap}\n" for gap in files.gaps)
    return files.texts | ({"gaps.txt": gaps} if gaps else {})


def renew() -> None:
    for case in CASES:
        for name, text in written(converted(case)).items():
            (DATA / case / name).write_text(text)


if __name__ == "__main__":
    renew()

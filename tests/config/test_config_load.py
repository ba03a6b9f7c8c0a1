"""Loading of a file into a typed configuration, and every mistake it may hold."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.config import CLIENT, SERVER, TOKEN, client, problems, server
from tests.support.texts import CHARACTERS

from backhaul.config import Address, ClientConfig, ConfigError, PortMapping, Secret, ServerConfig, load
from backhaul.config.keys import ALL, TLS, Key, keys
from backhaul.config.loader import parse
from backhaul.config.schema import SIDES
from backhaul.errors import BackhaulError

# The defaults of v0.7.2 (cmd/defaults.go), and what its zero values mean.
V072_COMMON = {
    "token": Secret("musix"), "keepalive_period": 75, "nodelay": False, "log_level": "info", "pprof": False,
    "mux_session": 1, "mux_version": 1, "mux_framesize": 32768, "mux_recievebuffer": 4194304,
    "mux_streambuffer": 65536, "sniffer": False, "web_port": 0, "sniffer_log": "backhaul.json",
    "skip_optz": False, "mss": 0, "so_rcvbuf": 0, "so_sndbuf": 0, "metrics": ("default",),
}  # fmt: skip
V072_SERVER = {
    "channel_size": 2048, "ports": (), "tls_cert": "", "tls_key": "", "heartbeat": 40, "mux_con": 8,
    "accept_udp": False, "proxy_protocol": False,
}  # fmt: skip
V072_CLIENT = {
    "connection_pool": 8, "retry_interval": 3, "dial_timeout": 10, "aggressive_pool": False, "edge_ip": "",
}  # fmt: skip


@pytest.fixture
def pair(tmp_path: Path) -> str:
    """Two key lines that name readable files."""
    for name in ("server.crt", "server.key"):
        (tmp_path / name).write_text("PEM")
    return f'tls_cert = "{tmp_path}/server.crt"\ntls_key = "{tmp_path}/server.key"\n'


@pytest.mark.parametrize("transport", ALL)
def test_a_minimal_server_has_the_defaults_of_v072(transport: str, pair: str) -> None:
    config = parse(f'[server]\nbind_addr = ":3080"\ntransport = "{transport}"\n' + (pair if transport in TLS else ""))
    expected = V072_COMMON | V072_SERVER
    for name in ("tls_cert", "tls_key") if transport in TLS else ():
        del expected[name]
    assert {name: getattr(config, name) for name in expected} == expected
    assert (config.transport, isinstance(config, ServerConfig)) == (transport, True)


@pytest.mark.parametrize("transport", ALL)
def test_a_minimal_client_has_the_defaults_of_v072(transport: str) -> None:
    config = parse(f'[client]\nremote_addr = "example.com:3080"\ntransport = "{transport}"\n')
    expected = V072_COMMON | V072_CLIENT
    assert {name: getattr(config, name) for name in expected} == expected
    assert (config.transport, isinstance(config, ClientConfig)) == (transport, True)


def test_keys_that_v072_lacks_have_their_defaults() -> None:
    for config in (server(""), client("")):
        assert (config.shutdown_timeout, config.log_format, config.path) == (5, "text", "")
        assert (config.udp_timeout, config.udp_max_flows) == (60, 4096)
        assert (config.web_bind, config.web_user, config.web_password) == ("0.0.0.0", "", Secret(""))
        assert config.encryption is False
    assert server("").security == parse(CLIENT.replace("required", "")).security == "auto"
    assert (server("").decoy, client("").dial_rate) == ("404", 0)
    assert (client("").tls_verify, client("").tls_ca) == (False, "")
    assert (client("").tls_server_name, client("").tls_fingerprint) == ("", "")


def test_every_key_of_v072_is_read(pair: str) -> None:
    config = server(
        f"{pair}accept_udp = true\nkeepalive_period = 20\nnodelay = true\nchannel_size = 1\n"
        "heartbeat = 1\nmux_con = 2\n"
        "mux_session = 3\nmux_version = 2\nmux_framesize = 65535\nmux_recievebuffer = 2147483647\n"
        'mux_streambuffer = 2147483647\nsniffer = true\nweb_port = 2060\nsniffer_log = "/root/log.json"\n'
        'log_level = "trace"\nskip_optz = true\nmss = 1360\nso_rcvbuf = 4194304\nso_sndbuf = 1048576\npprof = true\n'
        'metrics = ["default", "prometheus"]\nproxy_protocol = true\nports = ["443", "127.0.0.2:4000=5000"]\n'
    )
    assert config.bind_addr == Address("0.0.0.0", 3080)
    assert config.token.reveal() == TOKEN
    assert config.ports == (PortMapping("", 443, "443"), PortMapping("127.0.0.2", 4000, "5000"))
    assert (config.accept_udp, config.proxy_protocol, config.nodelay, config.sniffer) == (True, True, True, True)
    assert (config.keepalive_period, config.heartbeat, config.channel_size, config.mux_con) == (20, 1, 1, 2)
    assert (config.mux_session, config.mux_version, config.mux_framesize) == (3, 2, 65535)
    assert (config.mux_recievebuffer, config.mux_streambuffer) == (2147483647, 2147483647)
    assert (config.web_port, config.sniffer_log, config.log_level) == (2060, "/root/log.json", "trace")
    assert (config.skip_optz, config.pprof, config.mss) == (True, True, 1360)
    assert (config.so_rcvbuf, config.so_sndbuf) == (4194304, 1048576)
    assert config.metrics == ("default", "prometheus")
    assert not [warning for warning in config.warnings if "unknown" in warning]


def test_keys_of_a_client_are_read() -> None:
    config = client(
        'edge_ip = "188.114.96.0"\nconnection_pool = 1\naggressive_pool = true\nretry_interval = 1\ndial_timeout = 2\n'
        'tls_verify = true\ntls_server_name = "front.example"\npath = "/app/"\n'
        'web_user = "me"\nweb_password = "secret"\n'
        f'tls_fingerprint = "{":".join(["AB"] * 32)}"\nlog_format = "json"\nshutdown_timeout = 0\n'
    )
    assert (config.edge_ip, config.connection_pool, config.aggressive_pool) == ("188.114.96.0", 1, True)
    assert (config.retry_interval, config.dial_timeout, config.tls_verify) == (1, 2, True)
    assert (config.tls_server_name, config.path, config.tls_fingerprint) == ("front.example", "/app", "ab" * 32)
    assert (config.web_user, config.web_password.reveal()) == ("me", "secret")
    assert (config.log_format, config.shutdown_timeout) == ("json", 0)


def test_marks_and_interfaces_are_read() -> None:
    config = client('mark = 0xFFFFFFFF\nbind_interface = "eth0.7"')
    assert (config.mark, config.bind_interface) == (2**32 - 1, "eth0.7")


@pytest.mark.parametrize("name", ["..", "a/b", "eth0:1", "a b", "sixteen-letters-", "\u00e9" * 8])
def test_names_that_no_interface_has(name: str) -> None:
    [problem] = problems(f'{CLIENT}bind_interface = "{name}"')
    assert problem.startswith('client.bind_interface: expected the name of a network interface, such as "eth1", got ')


def unset(key: Key) -> str:
    if key.value_type is int:
        return "0"
    if key.value_type is bool:
        return "false"
    return {str: '""', list[object]: "[]"}.get(key.raw_type, "{}")


@pytest.mark.parametrize("side", SIDES)
def test_unset_values_mean_the_default_as_in_v072(side: str) -> None:
    bare = parse(SERVER if side == "server" else CLIENT)
    given_by_base = ("bind_addr", "remote_addr", "transport", "token", "security")
    lines = [
        f"{key.name} = {unset(key)}"
        for key in keys(SIDES[side])
        if key.name not in (*given_by_base, "shutdown_timeout", "resume_timeout", "access_log_size")
    ]
    assert parse((SERVER if side == "server" else CLIENT) + "\n".join(lines)) == bare


@pytest.mark.parametrize("text", ["WARN", "warning", "Warn"])
def test_log_levels_are_read_as_v072_does(text: str) -> None:
    assert server(f'log_level = "{text}"').log_level == "warn"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('heartbeat = "abc"', 'server.heartbeat: expected a whole number of seconds ≥ 1, got "abc"'),
        ("heartbeat = -1", "server.heartbeat: expected a whole number of seconds ≥ 1, got -1"),
        ("heartbeat = 1.0", "server.heartbeat: expected a whole number of seconds ≥ 1, got 1.0"),
        ("heartbeat = true", "server.heartbeat: expected a whole number of seconds ≥ 1, got true"),
        ("heartbeat = false", "server.heartbeat: expected a whole number of seconds ≥ 1, got false"),
        ('heartbeat = ""', 'server.heartbeat: expected a whole number of seconds ≥ 1, got ""'),
        ("heartbeat = [1]", "server.heartbeat: expected a whole number of seconds ≥ 1, got [1]"),
        ("heartbeat = 1979-05-27", "server.heartbeat: expected a whole number of seconds ≥ 1, got a date or time"),
        ("heartbeat = {a = 1}", "server.heartbeat: expected a whole number of seconds ≥ 1, got a table"),
        ("heartbeat = 2147483648", "server.heartbeat: expected a whole number of seconds ≤ 2147483647, got 2147483648"),
        (
            f"heartbeat = {2**70}",
            "server.heartbeat: expected a whole number of seconds ≤ 2147483647, got a number of more than 64 bits",
        ),
        ("mux_version = 3", "server.mux_version: expected a whole number from 1 to 2, got 3"),
        ("mux_framesize = 65536", "server.mux_framesize: expected a whole number of bytes from 1 to 65535, got 65536"),
        ("web_port = 70000", "server.web_port: expected a whole number from 0 to 65535, got 70000"),
        ("mss = 87", "server.mss: expected 0 (the system's) or at least 88 bytes, got 87"),
        (
            'proxy_protocol = "v3"',
            'server.proxy_protocol: expected true, false, "v1", "v2" or a table such as {443 = "v2"}, got "v3"',
        ),
        ("nodelay = 1", "server.nodelay: expected true or false, got 1"),
        ("sniffer_log = 1", "server.sniffer_log: expected text in quotes, got 1"),
        ('log_format = "jsn"', 'server.log_format: expected "text" or "json", got "jsn"; did you mean `json`?'),
        ('metrics = ["x"]', 'server.metrics: expected a list of "default" or "prometheus", got ["x"]'),
        ('ports = "443"', 'server.ports: expected a list of texts, got "443"'),
        ('sniffer_log = "a\\u0000b"', "server.sniffer_log: no file can have this name; correct the path"),
        ('web_user = "me"', "server.web_password: missing; web_user needs one, or remove web_user"),
        ('web_password = "pw"', "server.web_user: missing; web_password needs one, or remove web_password"),
        (
            'security = "auo"',
            'server.security: expected "auto", "required" or "legacy", got "auo"; did you mean `auto`?',
        ),
        ('securty = "required"', 'server.security: missing; rename securty, or add security = "required"'),
        ("encrypt = true", "server.encryption: missing; rename encrypt, or add encryption = true"),
        ('security = "legacy"\nencryption = true', 'server.encryption: needs security = "auto" or "required"'),
        (
            'ports = ["3080"]',
            "server.ports: port 3080 is taken by bind_addr 0.0.0.0:3080; choose another for one of them",
        ),
        (
            "web_port = 3080",
            "server.web_port: port 3080 is taken by bind_addr 0.0.0.0:3080; choose another for one of them",
        ),
        (
            'web_port = 80\nports = ["80"]',
            "server.web_port: port 80 is listed in ports too; choose another for one of them",
        ),
    ],
)
def test_a_mistake_is_one_line_with_key_and_remedy(line: str, message: str) -> None:
    assert problems(SERVER + line) == (message,)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('decoy = "/no/such/directory"', "no such directory"),
        ('decoy = "https://"', "an http(s) URL"),
        ('decoy = "http://host:99999/"', "an http(s) URL"),
        ('decoy = "http://host:0/"', "cannot be dialled"),
        ('decoy = "http://[::1/"', "an http(s) URL"),
        ('path = "app"', "starts with a slash"),
        ('path = "/a b"', "no spaces"),
        ('path = "/a?b"', "no spaces"),
        ('web_bind = "0.0.0.0:80"', "neither an IP address nor a host name"),
        (f'web_bind = "{"x" * 64}.example"', "neither an IP address nor a host name"),
        (f'web_bind = "{"x." * 128}example"', "neither an IP address nor a host name"),
        (f'web_bind = "{"é" * 60}.example"', "neither an IP address nor a host name"),  # too long once it is encoded
        ('web_bind = "xn--é.example"', "neither an IP address nor a host name"),
        ('log_level = "infos"', "did you mean `info`?"),
    ],
)
def test_texts_with_a_form_of_their_own(line: str, words: str) -> None:
    [problem] = problems(SERVER + line)
    assert problem.startswith(f"server.{line.partition(' ')[0]}: expected ")
    assert words in problem


@pytest.mark.parametrize("name", [".example", "a..example", "[::1]", "a b", r"a\u0000b", "x" * 64])
def test_a_name_that_tls_can_not_send(name: str) -> None:
    [problem] = problems(CLIENT + f'tls_server_name = "{name}"')
    assert problem.startswith("client.tls_server_name: expected an IP address or a host name, got ")


@pytest.mark.parametrize("name", ["front.example", "front.example.", "é.example", "a_b", "2001:db8::1", ""])
def test_names_that_tls_can_send(name: str) -> None:
    assert client(f'tls_server_name = "{name}"').tls_server_name == name


def test_decoys(tmp_path: Path) -> None:
    for decoy in ("404", str(tmp_path), "https://example.com/@blog", "http://[::1]:8080"):
        assert server(f'decoy = "{decoy}"').decoy == decoy
    assert server('decoy = "http://user:secret@[::1]:80/a@b"').decoy == "http://[::1]:80/a@b"


@pytest.mark.parametrize("text", ["AA", "zz" * 32, "ab" * 33])
def test_a_fingerprint_has_64_digits(text: str) -> None:
    [problem] = problems(CLIENT + f'tls_fingerprint = "{text}"')
    assert "expected 64 hexadecimal digits" in problem


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[server]", ("server.transport: missing", "server.bind_addr: missing")),
        ("[client]", ("client.transport: missing", "client.remote_addr: missing")),
        (
            '[client]\ntransport = "tpc"\nremote_addr = ""',
            ("client.transport: expected ", "client.remote_addr: missing"),
        ),
        ("", ("holds neither [server] nor [client]",)),
        ("[server]\n[client]", ("client.transport: missing", "client.remote_addr: missing")),
        (
            "[sever]",
            ("holds neither", "sever: unknown table or key, ignored; remove it or correct it; did you mean `server`?"),
        ),
        (
            '[server]\ntransport = "tcp"\nBindaddr = ":1"',
            ('server.bind_addr: missing; rename Bindaddr, or add bind_addr = "0.0.0.0:3080"',),
        ),
        (
            SERVER.replace("token", "tokn"),
            ('server.token: missing; rename tokn, or add token = "a long random text"',),
        ),
        ("server = 1", ("server: expected one table [server], got 1",)),
        ("[[server]]", ("server: expected one table [server], got [a table]",)),
        ("[server]\nheartbeat = = 3", ("not valid TOML: Invalid value (at line 2, column 13)",)),
        ("[server]\nheartbeat = " + "9" * 5000, ("not valid TOML: ",)),
        ("a = " + "[" * 5000, ("not valid TOML: ",)),
    ],
)
def test_mistakes_of_the_whole_file(text: str, expected: tuple[str, ...]) -> None:
    found = problems(text)
    assert len(found) == len(expected)
    for problem, start in zip(found, expected, strict=True):
        assert problem.startswith(start)


def test_a_wrong_transport_gets_a_hint() -> None:
    [problem] = problems(SERVER.replace('"tcp"', '"tpc"'))
    assert problem.endswith('got "tpc"; did you mean `tcp`?')


@pytest.mark.parametrize("transport", TLS)
def test_tls_servers_need_certificate_and_key(transport: str, tmp_path: Path) -> None:
    text = SERVER.replace('"tcp"', f'"{transport}"')
    cert, key = problems(text)
    assert cert.startswith(f"server.tls_cert: missing, transport {transport} needs it; `backhaul cert ")
    assert key.startswith(f"server.tls_key: missing, transport {transport} needs it; `backhaul cert ")
    cert, key = problems(text + f'tls_cert = "{tmp_path}/none.crt"\ntls_key = "a\\u0000b"')
    assert cert.startswith(f'server.tls_cert: cannot read "{tmp_path}/none.crt": No such file or directory;')
    assert key.startswith("server.tls_key: no file can have this name")


def test_files_that_the_transport_does_not_use_may_be_missing() -> None:
    assert server('tls_cert = "/none"\ntls_key = "/none"').tls_cert == "/none"
    assert client('tls_ca = "/none"\ntls_verify = true').tls_ca == "/none"


def test_the_authorities_of_a_tls_client_must_exist() -> None:
    [problem] = problems(CLIENT.replace('"tcp"', '"wss"') + 'tls_ca = "/none"')
    assert problem.startswith('client.tls_ca: cannot read "/none"')


def test_udp_ports_and_the_page_may_share_a_number() -> None:
    assert parse(SERVER.replace('"tcp"', '"udp"') + 'web_port = 80\nports = ["80"]').web_port == 80


def test_all_mistakes_are_reported_together_with_the_file_as_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = '[server]\ntransport = "tcp"\nheartbeat = -1\nweb_port = -1\nports = ["0", "x"]\nmss = 1\n'
    Path("my.toml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        load("my.toml")
    assert len(caught.value.problems) == 6
    assert all(problem.startswith("my.toml: server.") for problem in caught.value.problems)
    assert str(caught.value) == "\n".join(caught.value.problems)
    assert isinstance(caught.value, BackhaulError)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "latin.toml").write_bytes(b'[server]\n# ok\ntoken = "\xe9"\n')
    for name, words in {
        "none.toml": "cannot be read: No such file or directory",
        ".": "a directory; name one of its files",
        "latin.toml": "line 3 is not UTF-8 text; save the file as UTF-8",
    }.items():
        with pytest.raises(ConfigError) as caught:
            load(tmp_path / name)
        [problem] = caught.value.problems
        assert problem.startswith(f"{tmp_path / name}: {words}")


def test_files_from_windows(tmp_path: Path) -> None:
    (tmp_path / "c.toml").touch(0o600)
    (tmp_path / "c.toml").write_bytes(b"\xef\xbb\xbf" + CLIENT.replace("\n", "\r\n").encode())
    assert load(tmp_path / "c.toml") == client("")


@given(st.text(CHARACTERS))
def test_no_text_raises_anything_but_config_errors(text: str) -> None:
    with pytest.raises(ConfigError):
        parse(text)


@pytest.mark.parametrize(("transport", "matters"), [("tcpmux", True), ("wsmux", True), ("tcp", False), ("ws", False)])
def test_session_sizes_are_checked_on_muxed_transports_only(transport: str, *, matters: bool) -> None:
    message = (
        "server.mux_streambuffer: expected at most mux_recievebuffer (65535), got 65536; "
        "a session's buffer holds those of its streams"
    )
    text = SERVER.replace('"tcp"', f'"{transport}"') + "mux_recievebuffer = 65535"
    if matters:
        assert problems(text) == (message,)
    else:
        assert parse(text).mux_recievebuffer == 65535

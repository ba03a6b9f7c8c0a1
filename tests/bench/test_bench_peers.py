"""The programs that the benchmark compares: their files, their table, and mistakes in a path."""

import stat
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from bench.processes import BenchError, Programs
from bench.scenarios.backends import own_state
from bench.scenarios.contenders import find_peers, ours
from bench.scenarios.dialects import backhaul, frp, rathole
from bench.scenarios.dialects.wiring import Files, Secrets, Wiring
from bench.scenarios.variants import VARIANTS

REPOSITORY = Path(__file__).parents[2]
SECRETS = Secrets(Path("/x/crt"), Path("/x/key"), Path("/x/pfx"), "private", "public")


def parsed(files: Files) -> tuple[dict[str, Any], dict[str, Any]]:
    return tomllib.loads(files.server), tomllib.loads(files.client)


def wiring(protocol: str = "tcp") -> Wiring:
    return Wiring(7000, {"echo": 1, "http": 2}, {"echo": 11, "http": 12}, protocol, SECRETS)


def program(path: Path, version: str = "0") -> Path:
    path.write_text(f"#!/bin/sh\necho {version}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def test_this_program_sets_udp_on_the_server_alone() -> None:
    server, client = parsed(backhaul.modes("tcp+udp")[""](wiring("udp")))
    assert server["server"]["ports"] == ["127.0.0.1:1=127.0.0.1:11", "127.0.0.1:2=127.0.0.1:12"]
    assert server["server"]["accept_udp"] is True
    assert client["client"]["remote_addr"] == "127.0.0.1:7000"
    assert "accept_udp" not in client["client"]


def test_this_program_sets_its_mux_version_on_both_ends() -> None:
    server, client = parsed(backhaul.modes("wsmux v2")[""](wiring()))
    assert server["server"]["mux_version"] == client["client"]["mux_version"] == 2


@pytest.mark.parametrize("variant", ["tcp sealed", "tcpmux sealed", "ws sealed", "wsmux sealed", "udp sealed"])
def test_this_program_demands_protection_and_encryption_on_both_ends(variant: str) -> None:
    server, client = parsed(backhaul.modes(variant)[""](wiring(VARIANTS[variant].protocol)))
    for end in (server["server"], client["client"]):
        assert (end["security"], end["encryption"]) == ("required", True)


def test_each_tunnel_remembers_its_servers_where_its_files_are(tmp_path: Path) -> None:
    with Programs(tmp_path) as programs:
        one, other = own_state(programs, "one"), own_state(programs, "other")
    assert one != other
    assert Path(one["STATE_DIRECTORY"]).parent == tmp_path


def test_rathole_over_tcp() -> None:
    server, client = parsed(rathole.modes("tcp")[""](wiring()))
    assert server["server"]["bind_addr"] == client["client"]["remote_addr"] == "127.0.0.1:7000"
    assert server["server"]["services"]["http"] == {"type": "tcp", "bind_addr": "127.0.0.1:2"}
    assert client["client"]["services"]["http"] == {"type": "tcp", "local_addr": "127.0.0.1:12"}
    assert server["server"]["transport"] == client["client"]["transport"] == {"type": "tcp"}


@pytest.mark.parametrize(
    ("variant", "label", "kind", "secrets"),
    [
        ("wss", "", "websocket", "tls"),
        ("wss", "tls", "tls", "tls"),
        ("wss", "noise", "noise", "noise"),
        ("tcp sealed", "", "noise", "noise"),
        ("tcpmux sealed", "", "noise", "noise"),
        ("udp sealed", "", "noise", "noise"),
    ],
)
def test_rathole_encrypted(variant: str, label: str, kind: str, secrets: str) -> None:
    server, client = parsed(rathole.modes(variant)[label](wiring()))
    ends = server["server"]["transport"], client["client"]["transport"]
    assert [end["type"] for end in ends] == [kind, kind]
    assert all(secrets in end for end in ends)
    assert [end.get("websocket") for end in ends] == [{"tls": True} if kind == "websocket" else None] * 2


def test_rathole_gets_each_half_of_the_noise_key() -> None:
    server, client = parsed(rathole.modes("wss")["noise"](wiring()))
    assert server["server"]["transport"]["noise"] == {"local_private_key": "private"}
    assert client["client"]["transport"]["noise"] == {"remote_public_key": "public"}


@pytest.mark.parametrize(
    ("variant", "protocol", "mux", "tls"),
    [("tcp", "tcp", False, False), ("wsmux", "websocket", True, False), ("wss", "websocket", False, True)],
)
def test_frp(variant: str, protocol: str, mux: bool, tls: bool) -> None:  # noqa: FBT001
    server, client = parsed(frp.modes(variant)[""](wiring()))
    assert server["bindPort"] == client["serverPort"] == 7000
    assert server["transport"]["tcpMux"] is client["transport"]["tcpMux"] is mux
    assert server["transport"]["tls"]["force"] is client["transport"]["tls"]["enable"] is tls
    assert client["transport"]["protocol"] == protocol
    proxy = {"name": "echo", "type": "tcp", "localIP": "127.0.0.1", "localPort": 11, "remotePort": 1}
    assert client["proxies"][0] == proxy


@pytest.mark.parametrize("variant", ["udp", "tcp+udp"])
def test_datagrams_through_the_peers(variant: str) -> None:
    given = wiring(VARIANTS[variant].protocol)
    server, client = parsed(rathole.modes(variant)[""](given))
    assert server["server"]["services"]["echo"]["type"] == client["client"]["services"]["echo"]["type"] == "udp"
    _, client = parsed(frp.modes(variant)[""](given))
    assert [proxy["type"] for proxy in client["proxies"]] == ["udp", "udp"]


@pytest.mark.parametrize("dialect", [rathole.TRANSPORTS, frp.MODES], ids=["rathole", "frp"])
def test_peers_modes_belong_to_known_variants(dialect: dict[str, object]) -> None:
    assert dialect.keys() <= VARIANTS.keys()


def test_the_name_chooses_the_language_of_the_files(tmp_path: Path) -> None:
    rust, other = program(tmp_path / "rathole", "rathole 0.5.0"), program(tmp_path / "b", "v0.7.2")
    for end in ("frps", "frpc"):
        program(tmp_path / end, "0.70.1")
    peers = find_peers([f"rathole-a={rust}", f"frp={tmp_path}", f"v072={other}", str(other)])
    assert [(peer.name, peer.version) for peer in peers] == [
        ("rathole-a", "0.5.0"), ("frp", "0.70.1"), ("v072", "v0.7.2"), ("peer", "v0.7.2"),
    ]  # fmt: skip
    assert [peer.modes for peer in peers] == [rathole.modes, frp.modes, backhaul.modes, backhaul.modes]
    assert peers[1].server == [str(tmp_path / "frps"), "-c"]
    assert peers[1].client == [str(tmp_path / "frpc"), "-c"]
    assert peers[0].server == [str(rust)]


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("rathole=/none/here", "here is not an executable file; give the path of a program"),
        ("frp=/none", "frps is not an executable file; give the folder that holds frps and frpc"),
        ("v072=/", " is not an executable file; give the path of a program"),
        ("haproxy=/bin/true", "the name haproxy is taken; choose another one"),
    ],
)
def test_a_wrong_peer_gets_one_line(option: str, said: str) -> None:
    with pytest.raises(BenchError) as raised:
        find_peers([option])
    assert str(raised.value) == f"--peer {option}: {said}"


def test_a_wrong_path_ends_the_benchmark_with_one_line() -> None:
    argv = [sys.executable, "-m", "bench", "--peer", "rathole=/none/here"]
    done = subprocess.run(argv, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    line = "bench: --peer rathole=/none/here: here is not an executable file; give the path of a program\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", line)


def test_a_file_that_is_no_program(tmp_path: Path) -> None:
    text = tmp_path / "notes"
    text.write_text("no program\n")
    with pytest.raises(BenchError, match="notes is not an executable file"):
        find_peers([f"x={text}"])
    text.chmod(0o755)
    with pytest.raises(BenchError, match=r"notes cannot be run: Exec format error; give the path of a program$"):
        find_peers([f"x={text}"])


def test_the_same_name_twice(tmp_path: Path) -> None:
    one = program(tmp_path / "one")
    with pytest.raises(BenchError, match="the name a is taken"):
        find_peers([f"a={one}", f"a={one}"])


def test_this_program_is_compared_on_every_variant() -> None:
    assert all(ours().modes(variant) for variant in VARIANTS)

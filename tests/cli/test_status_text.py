"""The text of the command ``backhaul status``."""

from typing import Any

import pytest
from msgspec.structs import replace
from tests.monitor.sample import STARTED, Tunnel, port, server_status

from backhaul.cli.status import render
from backhaul.monitor.status import ClientStatus, Event, GroupStatus, LimitStatus, Status
from backhaul.state import MemberState


def sample(**changes: Any) -> Status:  # noqa: ANN401 - any field
    return replace(Tunnel(port(443, received=5 * 2**20)).status, events=(), **changes)


def test_the_text_of_a_server() -> None:
    ports = (port(443, received=5 * 2**20, sent=2**30), replace(port(8080, target="[::1]:80"), bind="", open=12345))
    text = render("name", sample(ports=ports, flows=3, version="1"), STARTED + 93784)
    assert text.splitlines() == [
        "name: server, transport tcpmux, connected to 192.0.2.7:40112",
        (
            "  up 1 d 2 h, 1 reconnect, round trip 12.3 ms, pool 3 of 8, 2 sessions, 5 streams, 3 UDP flows, "
            "1 session without a connection, 6 resumes of sessions, version 1"
        ),
        "",
        "  port         target         open  total  refused  dropped  from users  to users",
        "  0.0.0.0:443  127.0.0.1:80      2      9        0        0    5.00 MiB  1.00 GiB",
        "  *:8080       [::1]:80      12345      9        0        0         0 B       0 B",
    ]


def test_a_unix_socket_has_a_path_for_a_port() -> None:
    down = replace(port(0), bind="/run/app.sock", up=False, problem="no directory /run")
    lines = render("name", sample(ports=(down,)), STARTED).splitlines()
    assert lines[4].startswith("  unix:/run/app.sock  127.0.0.1:80 ")
    assert lines[5] == "  unix:/run/app.sock: port down: no directory /run"


def test_the_text_of_a_client() -> None:
    status = sample(
        side="client",
        rtt=None,
        pool_size=None,
        sessions=0,
        streams=0,
        parked=0,
        resumes=0,
        ports=(replace(port(80), bind=""),),
    )
    assert render("name", status, STARTED + 59.9).splitlines()[1:] == [
        "  up 59 s, 1 reconnect, pool 3, version 1.2.3",
        "  allowed targets: all but Unix sockets",
        "",
        "  target        open  total  refused  dropped  from users  to users",
        "  127.0.0.1:80     2      9        0        0         0 B       0 B",
    ]


@pytest.mark.parametrize(
    ("targets", "text"),
    [
        ((":22", "db.example:5432"), ":22, db.example:5432"),
        (tuple(f":{port}" for port in range(1, 9)), ":1, :2, :3, :4, :5, and 3 more"),
    ],
)
def test_the_allowed_targets_of_a_client_are_shown(targets: tuple[str, ...], text: str) -> None:
    shown = render("name", sample(side="client", allow_targets=targets), STARTED)
    assert f"\n  allowed targets: {text}\n" in shown


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-5, "0 s"), (0.4, "0 s"), (60, "1 min 0 s"), (3600, "1 h 0 min"), (86400 * 400 + 1, "400 d 0 h")],
)
def test_the_uptime_has_two_units(seconds: float, text: str) -> None:
    assert f"up {text}, " in render("name", sample(), STARTED + seconds)


def test_unanswered_users_are_shown() -> None:
    text = render("name", sample(unanswered=4, ports=(replace(port(443), target_refused=1),)), STARTED)
    assert ", 4 users without an answer, " in text
    assert "  0.0.0.0:443: 1 user refused by target 127.0.0.1:80\n" in f"{text}\n"


def test_the_clients_of_a_server_are_shown() -> None:
    one = ClientStatus("berlin", True, "192.0.2.7", "", 0.025, 1, 2, 1)
    lost = replace(one, name="paris", connected=False, peer="", rtt=None)
    text = render("name", sample(clients=(one, lost), ports=(replace(port(443), client="berlin"),)), STARTED)
    assert "  client berlin: connected to 192.0.2.7, 2 users, 1 reconnect, round trip 25.0 ms\n" in text
    assert "  client paris: NOT CONNECTED, 2 users, 1 reconnect\n" in text
    assert "\n  berlin  0.0.0.0:443  127.0.0.1:80 " in text


def test_the_members_of_a_group_are_shown() -> None:
    members = (
        MemberState("berlin", 3, "ready", total=40),
        MemberState("paris", 0, "unhealthy", "answered HTTP/1.1 503 Busy", total=9, refused=2),
    )
    groups = (GroupStatus("web", "least", members, "http:/healthz", 5), GroupStatus("db", "order", members[:1]))
    lines = render("name", sample(groups=groups), STARTED).splitlines()
    assert lines[3:10] == [
        "  group web: 1 of 2 clients ready, balance least, health http:/healthz every 5 s",
        "  client  users  total  refused  state",
        "  berlin      3     40        0  ready",
        "  paris       0      9        2  UNHEALTHY: answered HTTP/1.1 503 Busy",
        "",
        "  group db: 1 of 1 client ready, balance order",
        "  client  users  total  refused  state",
    ]


def test_the_reason_for_a_missing_connection_is_shown() -> None:
    text = render("name", sample(connected=False, problem="can't listen on 192.0.2.1:3080"), STARTED)
    assert text.startswith("name: server, transport tcpmux, NOT CONNECTED: can't listen on 192.0.2.1:3080\n")


def test_only_the_last_events_are_shown() -> None:
    events = tuple(Event(number, STARTED, "info", f"number {number}") for number in range(9))
    lines = render("name", replace(sample(), events=events), STARTED).splitlines()
    assert [line.rpartition(" ")[2] for line in lines[-5:]] == ["4", "5", "6", "7", "8"]
    assert "number 3" not in "\n".join(lines)


def test_text_from_outside_cannot_control_the_terminal() -> None:
    text = render("name", sample(peer="\x1b[2J\n", ports=(port(1, target="\x07"),)), STARTED)
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "connected to \\x1b[2J\\n" in text


def test_limits_are_shown_with_their_use() -> None:
    limits = (
        LimitStatus("limits", "bytes_per_month", "bytes", 2 * 10**12, 10**12 + 1),
        LimitStatus("limits.443", "max_users", "users", 9, 3),
        LimitStatus("limits.443", "rate", "bit/s", 2_500_000, None),
    )
    lines = render("server", sample(limits=limits), STARTED).splitlines()
    assert [line.split(maxsplit=3) for line in lines if line.startswith("  limits")] == [
        ["limits.bytes_per_month", "2", "TB", "1 TB (50 %)"],
        ["limits.443.max_users", "9", "users", "3 users (33 %)"],
        ["limits.443.rate", "2.5", "Mbit/s"],
    ]


def test_a_target_that_fails_is_shown() -> None:
    good = replace(port(80), reached=STARTED - 5, failed=STARTED - 6, failure="timed out")
    bad = replace(port(443), failed=STARTED - 60, failure="connection refused")
    text = render("server", sample(ports=(good, bad, replace(bad, target="x:1", reached=STARTED - 90))), STARTED)
    assert [line for line in text.splitlines() if line.startswith("  target ")] == [
        "  target 127.0.0.1:80: failed 1 min 0 s ago: connection refused; no success so far",
        "  target x:1: failed 1 min 0 s ago: connection refused; last success 1 min 30 s ago",
    ]


def test_several_servers_of_a_client_are_shown() -> None:
    connected = server_status("a.example:1")
    servers = (connected, server_status("b.example:2", peer="", in_use=False), server_status("c.example:3", peer=""))
    text = render("x", sample(side="client", servers=servers), STARTED)
    assert "  server       transport  state\n" in text
    assert "  a.example:1  wssmux     connected to 192.0.2.9\n" in text
    assert "  b.example:2  wssmux     not in use\n" in text
    assert "  c.example:3  wssmux     NOT CONNECTED\n" in text


def test_a_server_and_its_successor_of_the_same_name_differ() -> None:
    name = "a.example:1"
    servers = (server_status(name, peer=""), replace(server_status(name), replaced=True))
    text = render("x", sample(side="client", servers=servers), STARTED)
    assert "  a.example:1  wssmux     NOT CONNECTED\n" in text
    assert "  a.example:1  wssmux     connected to 192.0.2.9, until its successor is\n" in text

import re
import shutil
import subprocess

import pytest
from msgspec.structs import replace
from prometheus_client.openmetrics import parser as open_metrics
from prometheus_client.parser import text_string_to_metric_families
from tests.monitor.sample import STARTED, Tunnel, port, server_status, times

from backhaul.monitor.columns import SLICE
from backhaul.monitor.exposition import OPEN_METRICS, PROMETHEUS, Form, form_for
from backhaul.monitor.prometheus import Figures, slices
from backhaul.monitor.status import ClientStatus, GroupStatus, LimitStatus, Status
from backhaul.state import MemberState, UserTimesState

needs_promtool = pytest.mark.skipif(not shutil.which("promtool"), reason="promtool is missing (package prometheus)")

COMMON = {"transport": "tcpmux", "side": "server"}


def render(status: Status, usage: dict[int, int], *histograms: UserTimesState, form: Form = PROMETHEUS) -> bytes:
    return b"".join(slices(form, Figures(status, usage, iter(histograms), {"/etc/page.crt": 1_800_000_000.0})))


def samples(text: bytes) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    families = text_string_to_metric_families(text.decode())
    return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}


def value(text: bytes, name: str, **labels: str) -> float:
    return samples(text)[name, frozenset((COMMON | labels).items())]


def busy() -> Tunnel:
    own = port(443, received=10, sent=20, target="web.example:8443")
    return Tunnel(
        replace(own, open=1, total=2, refused=3, dropped=4, target_refused=7, udp_flows=5, udp_dropped=6),
        port(80, received=2**53 - 1),
    )


@pytest.mark.parametrize(("connected", "number"), [(True, 1), (False, 0)])
def test_status_and_usage_have_the_names_of_v072(*, connected: bool, number: int) -> None:
    tunnel = busy()
    tunnel.say(connected=connected)
    text = render(tunnel.read(), {443: 30, 80: 5})
    assert value(text, "backhaul_tunnel_status") == number
    assert value(text, "backhaul_tunnel_usage", port="443") == 30
    assert value(text, "backhaul_tunnel_usage", port="80") == 5


def test_every_number_of_a_port_is_exported() -> None:
    text = render(busy().read(), {})
    exported = {
        name: value(text, f"backhaul_{name}", port="443", target="web.example:8443")
        for name in (
            "open_connections",
            "connections_total",
            "refused_connections_total",
            "dropped_connections_total",
            "received_bytes_total",
            "sent_bytes_total",
            "open_udp_flows",
            "dropped_udp_datagrams_total",
            "target_refused_total",
        )
    }
    assert list(exported.values()) == [1, 2, 3, 4, 10, 20, 5, 6, 7]


def test_every_number_of_the_tunnel_is_exported() -> None:
    tunnel = busy()
    tunnel.say(unanswered=4)
    text = render(tunnel.read(), {})
    names = (
        "idle_pool_connections",
        "wanted_pool_connections",
        "sessions",
        "streams",
        "reconnects_total",
        "unanswered_total",
        "sessions_parked",
        "session_resumes_total",
        "session_rotations_total",
        "session_parked_seconds_total",
        "session_replayed_bytes_total",
        "session_spool_bytes",
    )
    assert [value(text, f"backhaul_{name}") for name in names] == [3, 8, 2, 5, 1, 4, 1, 6, 2, 1.5, 7000, 8000]
    assert value(text, "backhaul_tunnel_rtt_seconds") == 0.0123
    assert value(text, "backhaul_start_time_seconds") == STARTED
    assert value(text, "backhaul_build_info", version="1.2.3") == 1
    assert b"process_resident_memory_bytes " in text


def test_unknown_numbers_are_not_exported() -> None:
    tunnel = busy()
    tunnel.say(rtt=None, pool_size=None)
    names = {name for name, _ in samples(render(tunnel.read(), {}))}
    assert "backhaul_tunnel_rtt_seconds" not in names
    assert "backhaul_wanted_pool_connections" not in names


def test_two_addresses_with_one_port_and_target_are_one_line() -> None:
    tunnel = Tunnel(replace(port(80, sent=1), bind="192.0.2.1"), replace(port(80, sent=2), bind="192.0.2.2"))
    text = render(tunnel.read(), {})
    assert value(text, "backhaul_sent_bytes_total", port="80", target="127.0.0.1:80") == 3
    assert text.count(b"backhaul_sent_bytes_total{") == 1


def test_two_groups_with_one_port_and_target_are_two_lines() -> None:
    ports = (replace(port(80, sent=1), bind="192.0.2.1", group="a"), replace(port(80), bind="192.0.2.2", group="b"))
    text = render(Tunnel(*ports).read(), {})
    assert value(text, "backhaul_sent_bytes_total", port="80", target="127.0.0.1:80", group="a") == 1
    assert value(text, "backhaul_sent_bytes_total", port="80", target="127.0.0.1:80", group="b") == 0


def test_refused_users_are_counted_by_reason() -> None:
    first = replace(port(80), bind="192.0.2.1", refused_by={"denied": 1, "users": 2})
    tunnel = Tunnel(first, replace(port(80), bind="192.0.2.2", refused_by={"denied": 3}))
    text, labels = render(tunnel.read(), {}), {"port": "80", "target": "127.0.0.1:80"}
    assert value(text, "backhaul_refused_users_total", reason="denied", **labels) == 4
    assert value(text, "backhaul_refused_users_total", reason="users", **labels) == 2


def test_a_port_that_is_down_is_named_by_its_address() -> None:
    text = render(Tunnel(port(80), replace(port(80), bind="::1", up=False, problem="in use")).read(), {})
    assert value(text, "backhaul_port_up", port="80", bind="0.0.0.0") == 1
    assert value(text, "backhaul_port_up", port="80", bind="::1") == 0


def test_both_ports_of_an_address_are_lines_of_their_own() -> None:
    ports = (replace(port(443), protocol="tcp", target="8443"), replace(port(443, sent=5), protocol="udp", up=False))
    text = render(Tunnel(*ports).read(), {})
    assert value(text, "backhaul_port_up", port="443", bind="0.0.0.0", protocol="tcp") == 1
    assert value(text, "backhaul_port_up", port="443", bind="0.0.0.0", protocol="udp") == 0
    assert value(text, "backhaul_sent_bytes_total", port="443", target="127.0.0.1:80") == 5


def test_a_unix_socket_has_a_path_for_a_port() -> None:
    text = render(Tunnel(replace(port(0, sent=7), bind="/run/a"), replace(port(0, sent=8), bind="/run/b")).read(), {})
    assert value(text, "backhaul_sent_bytes_total", port="unix:/run/a", target="127.0.0.1:80") == 7
    assert value(text, "backhaul_port_up", port="unix:/run/b", bind="/run/b") == 1


def test_the_name_of_a_target_cannot_forge_a_line() -> None:
    hostile = '%d%"} 1\nbackhaul_tunnel_status 0\\'
    text = render(Tunnel(port(80, sent=7, target=hostile)).read(), {})
    assert value(text, "backhaul_sent_bytes_total", port="80", target=hostile) == 7
    assert len(re.findall(rb"^backhaul_tunnel_status", text, re.MULTILINE)) == 1


def test_times_are_histograms_by_port_and_client() -> None:
    text = render(busy().read(), {}, times(client='100 % "berlin" @'), times(bind="192.0.2.1"))
    own = {"port": "443", "bind": "", "client": '100 % "berlin" @'}
    buckets = [value(text, "backhaul_user_waiting_seconds_bucket", le=le, **own) for le in ("0.1", "1.0", "+Inf")]
    assert buckets == [5, 7, 8]
    assert value(text, "backhaul_user_waiting_seconds_count", **own) == 8
    assert value(text, "backhaul_user_waiting_seconds_sum", **own) == 0.25
    other = own | {"bind": "192.0.2.1", "client": "default"}
    assert value(text, "backhaul_connection_duration_seconds_count", **other) == 3


def test_times_of_both_ports_of_an_address_are_apart() -> None:
    text = render(busy().read(), {}, times(protocol="udp"), times(protocol="tcp"))
    for protocol in ("tcp", "udp"):
        own = {"port": "443", "bind": "", "client": "default", "protocol": protocol}
        assert value(text, "backhaul_user_waiting_seconds_count", **own) == 8


def test_more_ports_than_a_slice_holds() -> None:
    numbers = range(1, SLICE + 2)
    tunnel = Tunnel(*(replace(port(number, sent=number), refused_by={"denied": number}) for number in numbers))
    text = render(tunnel.read(), {number: number for number in numbers}, *map(times, numbers))
    for name in ("sent_bytes_total", "refused_users_total", "port_up", "tunnel_usage", "user_waiting_seconds_count"):
        assert text.count(f"backhaul_{name}{{".encode()) == len(numbers)
    last = {"port": str(SLICE + 1), "target": "127.0.0.1:80"}
    assert value(text, "backhaul_sent_bytes_total", **last) == SLICE + 1
    assert value(text, "backhaul_refused_users_total", reason="denied", **last) == SLICE + 1


def test_the_end_of_the_certificate_is_exported() -> None:
    text = render(busy().read(), {})
    assert value(text, "backhaul_certificate_expiry_timestamp_seconds", file="/etc/page.crt") == 1_800_000_000


def test_both_forms_have_the_same_samples() -> None:
    tunnel = busy()
    text = render(tunnel.read(), {443: 30}, times(), form=OPEN_METRICS)
    assert text.endswith(b"\n# EOF\n")
    families = open_metrics.text_string_to_metric_families(text.decode())  # type: ignore[no-untyped-call]
    found = {(s.name, frozenset(s.labels.items())) for family in families for s in family.samples}
    assert found == samples(render(tunnel.read(), {443: 30}, times())).keys()


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("", PROMETHEUS),
        ("*/*", PROMETHEUS),
        ("text/plain;version=0.0.4", PROMETHEUS),
        ("application/openmetrics-text; version=1.0.0; charset=utf-8", OPEN_METRICS),
        ("application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,text/plain;q=0.5", OPEN_METRICS),
        ("text/plain, Application/OpenMetrics-Text", OPEN_METRICS),
        ("application/openmetrics-text;version=2.0.0", PROMETHEUS),
        ("application/openmetrics-text;version=1.0.0;q=0.0,text/plain", PROMETHEUS),
    ],
)
def test_the_form_is_the_one_asked_for(accept: str, form: Form) -> None:
    assert form_for(accept) is form


@needs_promtool
def test_promtool_finds_nothing_to_improve() -> None:
    text = render(busy().read(), {443: 30}, times(), times(80, client="berlin"))
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, b"")


def test_the_clients_of_a_server_have_metrics_of_their_own() -> None:
    tunnel = Tunnel(replace(port(443), client="berlin"), port(444))
    one = ClientStatus("berlin", True, "192.0.2.7", "", 0.25, 3, 7, 1)
    tunnel.say(clients=(one, replace(one, name="", connected=False, rtt=None)))
    text = render(tunnel.read(), {})
    assert value(text, "backhaul_client_connected", client="berlin") == 1
    assert value(text, "backhaul_client_connected", client="default") == 0
    assert value(text, "backhaul_client_users", client="berlin") == 7
    assert value(text, "backhaul_client_rtt_seconds", client="berlin") == 0.25
    assert value(text, "backhaul_client_reconnects_total", client="berlin") == 3
    assert value(text, "backhaul_connections_total", port="443", target="127.0.0.1:80", client="berlin") == 9
    assert value(text, "backhaul_connections_total", port="444", target="127.0.0.1:80") == 9
    assert text.count(b"backhaul_client_rtt_seconds{") == 1


@pytest.mark.parametrize("form", [PROMETHEUS, OPEN_METRICS])
def test_the_members_of_groups_have_metrics_of_their_own(form: Form) -> None:
    tunnel = busy()
    berlin, paris = (
        MemberState("berlin", 3, "ready", total=40),
        MemberState("paris", 1, "unhealthy", "timed out", 9, 2),
    )
    groups = (GroupStatus("web", "least", (berlin, paris)), GroupStatus("db", "order", (berlin,)))
    tunnel.say(groups=groups)
    text = render(tunnel.read(), {}, form=form)

    def member(name: str, client: str = "paris", group: str = "web") -> float:
        return value(text, f"backhaul_group_member_{name}", group=group, client=client)

    names = ("ready", "healthy", "users", "connections_total", "refused_total")
    assert [member(name) for name in names] == [0, 0, 1, 9, 2]
    assert [member(name, "berlin") for name in names] == [1, 1, 3, 40, 0]
    assert member("ready", "berlin", "db") == 1


@pytest.mark.parametrize("form", [PROMETHEUS, OPEN_METRICS])
def test_limits_and_their_use(form: Form) -> None:
    tunnel = busy()
    used = LimitStatus("limits.443", "bytes_per_day", "bytes", 100, 7)
    tunnel.say(limits=(used, LimitStatus("limits", "idle_timeout", "seconds", 60, None)))
    text = render(tunnel.read(), {}, form=form)
    assert value(text, "backhaul_limit", table="limits.443", limit="bytes_per_day") == 100
    assert value(text, "backhaul_limit_used", table="limits.443", limit="bytes_per_day") == 7
    assert value(text, "backhaul_limit", table="limits", limit="idle_timeout") == 60
    assert text.count(b"backhaul_limit_used{") == 1


@pytest.mark.parametrize("form", [PROMETHEUS, OPEN_METRICS])
def test_each_server_of_a_client_is_exported(form: Form) -> None:
    tunnel = busy()
    tunnel.say(servers=(server_status("a.example:1"), server_status("b.example:2", peer="", in_use=False)))
    text = render(tunnel.read(), {}, form=form)
    for name, number in (("a.example:1", 1), ("b.example:2", 0)):
        assert value(text, "backhaul_server_status", server=name) == number
        assert value(text, "backhaul_server_in_use", server=name) == number
        assert value(text, "backhaul_server_reconnects_total", server=name) == 4


def test_a_server_that_is_being_replaced_is_one_line() -> None:
    tunnel, old = busy(), server_status("a.example:1")
    tunnel.say(servers=(server_status("a.example:1", peer=""), old, server_status("a.example:1", peer="")))
    text = render(tunnel.read(), {})
    assert value(text, "backhaul_server_status", server="a.example:1") == 1
    assert text.count(b"backhaul_server_status{") == 1


def test_one_of_several_ends_in_a_process_has_a_name() -> None:
    tunnel = busy()
    tunnel.say(tunnel="berlin")
    text = render(tunnel.read(), {443: 30}, times())
    assert all(("tunnel", "berlin") in labels for name, labels in samples(text) if name.startswith("backhaul_"))

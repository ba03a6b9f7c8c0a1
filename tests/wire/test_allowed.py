import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.texts import CHARACTERS

from backhaul.wire.allowed import AllowList, Verdict, parse_rules

ALLOWED, REFUSED, BY_ADDRESS = Verdict.ALLOWED, Verdict.REFUSED, Verdict.BY_ADDRESS


@pytest.mark.parametrize(
    ("entry", "host", "port", "verdict"),
    [
        ("db.example", "db.example", 1, ALLOWED),
        ("db.example", "DB.Example.", 65535, ALLOWED),
        ("db.example", "other.example", 1, REFUSED),
        ("db.example", "a.db.example", 1, REFUSED),
        ("db.example", "10.0.0.1", 1, REFUSED),
        ("db.example:5432", "db.example", 5432, ALLOWED),
        ("db.example:5432", "db.example", 5433, REFUSED),
        ("db.example:80-90", "db.example", 90, ALLOWED),
        ("db.example:80-90", "db.example", 91, REFUSED),
        ("*.example", "a.b.example", 1, ALLOWED),
        ("*.example", "example", 1, REFUSED),
        ("*.example", "badexample", 1, REFUSED),
        ("*", "whatever", 1, ALLOWED),
        ("*:443", "10.0.0.1", 443, ALLOWED),
        ("*:443", "10.0.0.1", 80, REFUSED),
        ("10.0.0.0/8", "10.1.2.3", 1, ALLOWED),
        ("10.0.0.0/8", "11.0.0.1", 1, REFUSED),
        ("10.0.0.0/8", "::ffff:10.1.2.3", 1, ALLOWED),
        ("10.0.0.0/8", "::ffff:11.0.0.1", 1, REFUSED),
        ("10.0.0.0/8", "db.example", 1, BY_ADDRESS),
        ("10.0.0.0/8:80-90", "10.1.2.3", 80, ALLOWED),
        ("10.0.0.0/8:80-90", "10.1.2.3", 79, REFUSED),
        ("10.0.0.0/8:80-90", "db.example", 79, REFUSED),
        ("10.0.0.1:22", "10.0.0.1", 22, ALLOWED),
        ("10.0.0.1:22", "10.0.0.2", 22, REFUSED),
        ("[2001:db8::/32]", "2001:db8::1", 1, ALLOWED),
        ("[2001:db8::1]:443", "2001:db8:0::1", 443, ALLOWED),
        ("[2001:db8::1]:443", "2001:db8::2", 443, REFUSED),
        ("[fe80::/10]", "fe80::1%eth0", 1, ALLOWED),
        ("10.0.0.0/8", "10.0.0.1%x.example", 1, BY_ADDRESS),
        ("0.0.0.0/0", "::1", 1, REFUSED),
        (":22", "127.0.0.1", 22, ALLOWED),
        ("22", "127.0.0.1", 22, ALLOWED),
        ("20-22", "::1", 21, ALLOWED),
        (":22", "localhost", 22, ALLOWED),
        (":22", "127.0.0.2", 22, REFUSED),
        (":22", "127.0.0.1", 23, REFUSED),
        (":22", "name.example", 22, BY_ADDRESS),
        ("localhost", "127.0.0.1", 1, ALLOWED),
        ("unix:80", "unix", 80, ALLOWED),
        ("unix:/run/app.sock", "/run/app.sock", 0, ALLOWED),
        ("unix:/run/app.sock", "/run/appXsock", 0, REFUSED),
        ("unix:/run/app.sock", "/RUN/app.sock", 0, REFUSED),
        ("unix:/run/app.sock", "/run/app.sock", 80, REFUSED),
        ("unix:/run/*.sock", "/run/app.sock", 0, ALLOWED),
        ("unix:/run/*.sock", "/run/app/x.sock", 0, REFUSED),
        ("unix:/run/*/web*", "/run/app/web1", 0, ALLOWED),
        ("*", "/run/app.sock", 0, REFUSED),
        ("0.0.0.0/0", "/run/app.sock", 0, REFUSED),
        (":1-65535", "/run/app.sock", 0, REFUSED),
    ],
)
def test_entries(entry: str, host: str, port: int, verdict: Verdict) -> None:
    assert AllowList([entry]).judge(host, port) is verdict


def test_without_entries_everything_is_allowed() -> None:
    assert AllowList().judge("anywhere.example", 1) is ALLOWED


def test_one_entry_is_enough() -> None:
    allowed = AllowList(["db.example:5432", "10.0.0.0/8:80"])
    assert [allowed.judge("db.example", port) for port in (5432, 80, 1)] == [ALLOWED, BY_ADDRESS, REFUSED]


@pytest.mark.parametrize(
    ("address", "ports"),
    [("10.1.2.3", [80]), ("::ffff:10.1.2.3", [80]), ("127.0.0.1", []), ("::1", []), ("no address", [])],
)
def test_a_name_that_leads_elsewhere(address: str, ports: list[int]) -> None:
    allowed = AllowList(["10.0.0.0/8:80"])
    assert [port for port in (79, 80, 81) if allowed.allows_address(address, port)] == ports


@pytest.mark.parametrize(
    ("entry", "complaint"),
    [
        ("", "neither a host nor a port"),
        ("[]", "neither a host nor a port"),
        ("a b", "neither a name"),
        ("*.*.example", "neither a name"),
        ("a.*.example", "neither a name"),
        ("1.2.3", "neither a name"),
        ("10.0.0.0/33", "neither a name"),
        ("[db.example", "neither a name"),
        ("name:", "the port is missing"),
        ("name:http", "a port is a number"),
        ("name:0", "a port is a number"),
        ("name:65536", "a port is a number"),
        ("name:90-80", "a range runs upwards"),
        ("name:٣", "a port is a number"),
        ("99999", "a port is a number"),
        ("2001:db8::/32", "stands in brackets"),
        ("10.0.0.1/8", "write the network as 10.0.0.0/8"),
        ("[2001:db8::1/32]:80", "write the network as 2001:db8::/32"),
        ("[fe80::1%eth0]:80", "leave %eth0 out"),
        ("unix:run/app.sock", "is absolute"),
        ("unix:", "is absolute"),
        ("unix:/run/../*", "without"),
    ],
)
def test_mistakes(entry: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        parse_rules(entry)


@given(st.ip_addresses(), st.integers(1, 65535), st.integers(0, 32))
def test_a_network_covers_its_own_addresses(address: ipaddress.IPv4Address, port: int, prefix: int) -> None:
    network = ipaddress.ip_network(f"{address}/{prefix}", strict=False)
    allowed = AllowList([f"[{network}]:{port}"])
    assert allowed.allows_address(str(address), port) or address in ipaddress.ip_network("::ffff:0:0/96")


@given(st.text(CHARACTERS))
def test_any_text_is_an_entry_or_a_mistake(text: str) -> None:
    try:
        rules = parse_rules(text)
    except ValueError:
        return
    assert rules


@given(st.text(CHARACTERS), st.integers(1, 65535))
def test_any_host_gets_a_verdict(host: str, port: int) -> None:
    assert AllowList(["db.example", "10.0.0.0/8:80"]).judge(host, port) in Verdict


def test_the_remedy_keeps_what_was_allowed_without_entries() -> None:
    remedy = AllowList().remedy("unix:/run/app.sock")
    assert remedy == 'set allow_targets = ["*", "unix:/run/app.sock"] if the server may reach it'
    followed = AllowList(["*", "unix:/run/app.sock"])
    assert followed.judge("/run/app.sock", 0) is followed.judge("db.internal", 80) is Verdict.ALLOWED
    assert followed.remedy("unix:/run/other.sock") == "add it if the server may reach it"

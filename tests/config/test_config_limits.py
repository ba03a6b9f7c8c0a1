"""The tables ``[server.limits]`` and ``[server.limits.PORT]``."""

from pathlib import Path

import pytest
from tests.support.config import PORTS, SERVER, problems, server

from backhaul.config import ConfigError, load, load_usable
from backhaul.config.limits import Limits, LimitTables


def test_both_tables() -> None:
    limits = server(f'{PORTS}[server.limits]\nmax_users = 9\n[server.limits.443]\nallow = ["10.0.0.0/8"]').limits
    assert limits.everywhere == Limits(max_users=9)
    assert limits.ports == ((443, Limits(allow=("10.0.0.0/8",))),)
    assert str(limits) == '{max_users = 9, 443 = {allow = ["10.0.0.0/8"]}}'
    assert str(LimitTables()) == "{}"


@pytest.mark.parametrize(
    ("lines", "complaint"),
    [
        ("limits = 3", "expected a table [server.limits], got 3"),
        (
            "[server.limits]\nmax_user = 3",
            "max_user: unknown limit; remove it or correct it; did you mean `max_users`?",
        ),
        ("[server.limits.443]\nmax_users = -1", "443.max_users: expected a whole number ≥ 0, got -1"),
        ("[server.limits.https]\nmax_users = 1", "https: expected the number of a port, such as [server.limits.443]"),
        ('[server.limits."0443"]\nmax_users = 1', "0443: expected the number of a port"),
        ('[server.limits]\nbytes_per_day = "1 Mb"', "bytes_per_day: expected a number of bytes, or text such as"),
        ('[server.limits]\nquota_time_zone = "Mars"', "quota_time_zone: expected the name of a time zone, such as"),
        ('[server.limits]\nquota_time_zone = "../etc"', "quota_time_zone: expected the name of a time zone, such as"),
        (
            '[server.limits.443]\nquota_time_zone = "Asia/Tokyo"',
            "443.quota_time_zone: set it in [server.limits]",
        ),
        ('[server.limits]\nrate = "fast"', 'rate: expected a number of bits, or text such as "100 Mbit/s", got "fast"'),
        ("[server.limits]\nrate = -1", 'rate: expected a number of bits, or text such as "100 Mbit/s", got -1'),
        ('[server.limits]\ndeny = ["10.0.0.1/8", 3]', 'deny: entry "10.0.0.1/8": write a network such as'),
    ],
)
def test_mistakes(lines: str, complaint: str) -> None:
    found = problems(f"{SERVER}{PORTS}{lines}")
    assert found[0].startswith(f"server.limits: {complaint}")


@pytest.mark.parametrize(
    ("text", "bits"),
    [
        ("0", 0),
        ("8000", 8000),
        ('"8 bit/s"', 8),
        ('"1.5kbit/s"', 1500),
        ('"100 Mbit/s"', 10**8),
        ('"2 Gbit/s"', 2 * 10**9),
    ],
)
def test_rates(text: str, bits: int) -> None:
    assert server(f"{PORTS}[server.limits]\nrate = {text}").limits.everywhere.rate == bits


@pytest.mark.parametrize(
    ("text", "size"), [("7", 7), ('"7 B"', 7), ('"1.5kB"', 1500), ('"2 TB"', 2 * 10**12), ('"1 GiB"', 2**30)]
)
def test_sizes(text: str, size: int) -> None:
    assert server(f"{PORTS}[server.limits]\nbytes_per_month = {text}").limits.everywhere.bytes_per_month == size


def test_a_file_with_networks_must_exist(tmp_path: Path) -> None:
    path = tmp_path / "none"
    (found,) = problems(f'{SERVER}{PORTS}[server.limits.443]\ndeny_file = "{path}"')
    assert found.startswith("server.limits.443.deny_file: ")


@pytest.mark.parametrize(("table", "more"), [("limits", ""), ("clients.berlin", 'token = "t"\n')])
def test_a_start_and_a_check_find_mistakes_in_files_of_networks(tmp_path: Path, table: str, more: str) -> None:
    listed, file = tmp_path / "deny", tmp_path / "server.toml"
    listed.write_text("10.0.0.0/8\n10.0.0.1/8\n")
    file.write_text(f'{SERVER}{PORTS}[server.{table}]\n{more}deny_file = "{listed}"\n')
    file.chmod(0o600)
    assert load(file)
    with pytest.raises(ConfigError, match=rf'server.{table}.deny_file: ".*": line 2: write a network'):
        load_usable(file)


def test_a_file_with_networks_that_breaks_off_is_named_once(tmp_path: Path) -> None:
    file = tmp_path / "server.toml"
    file.write_text(f'{SERVER}{PORTS}[server.limits]\ndeny_file = "/proc/self/mem"\n')
    with pytest.raises(ConfigError) as caught:
        load_usable(file)
    [problem] = caught.value.problems
    assert problem.endswith('cannot read "/proc/self/mem": Input/output error; correct the path or its permissions')


def test_limits_of_a_port_that_is_not_listed_are_warned_of() -> None:
    warnings = server(f"{PORTS}[server.limits.444]\nmax_users = 1").warnings
    assert any(warning.startswith("limits.444: no effect") for warning in warnings)

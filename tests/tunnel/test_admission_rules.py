"""The rules by which users are admitted: lists, limits, and sources."""

from pathlib import Path

import pytest
from tests.support.clock import Clock

from backhaul.addresses import LOCAL
from backhaul.config.limits import Limits, LimitTables
from backhaul.tunnel.admission import Admission, Objection
from backhaul.tunnel.network_files import NetworkFiles
from backhaul.tunnel.sources import Sources

PORT = 443
HERE, THERE = "192.0.2.1", "198.51.100.1"


def never(_port: int, _ip: str) -> None:
    """Object to no address because of its bytes."""


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    """Return keys of files that hold the network of ``HERE`` alone."""
    (tmp_path / "here").write_text("192.0.2.0/24\n")
    return dict.fromkeys(("allow_file", "deny_file"), str(tmp_path / "here"))


async def admission(clock: Clock, **limits: object) -> Admission:
    """Return the admission with these limits on ``PORT``."""
    made = Admission(NetworkFiles(3600), clock, lambda: 0, never)
    await made.limit(LimitTables(ports=((PORT, Limits(**limits)),)), ())  # type: ignore[arg-type]
    return made


def refusal(made: Admission, ip: str, users: int = 0) -> str:
    """Return the limit that refuses a user, or nothing."""
    objection = made.objection(PORT, (ip, 1), users)
    return objection.limit if objection else ""


@pytest.mark.parametrize(
    ("keys", "limits", "refused"),
    [
        ((), {"allow": ("192.0.2.0/24",)}, ("", "allow")),
        (("allow_file",), {}, ("", "allow")),
        (("allow_file",), {"allow": ("198.51.100.0/24",)}, ("", "")),
        (("allow_file",), {"allow": ("203.0.113.0/24",)}, ("", "allow")),
        ((), {"deny": ("192.0.2.0/24",)}, ("deny", "")),
        (("deny_file",), {}, ("deny", "")),
        (("deny_file",), {"deny": ("198.51.100.0/24",)}, ("deny", "deny")),
        (("deny_file",), {"allow": ("192.0.2.0/24",)}, ("deny", "allow")),
        (("allow_file",), {"deny": ("192.0.2.1",)}, ("deny", "allow")),
        ((), {"deny": ("192.0.2.0/24",), "max_users_per_source": 9}, ("deny", "")),
        ((), {"allow": ("192.0.2.0/24",), "max_users_per_source": 9}, ("", "allow")),
    ],
)
async def test_lists_of_networks(
    files: dict[str, str], keys: tuple[str, ...], limits: dict[str, object], refused: tuple[str, str]
) -> None:
    made = await admission(Clock(), **limits, **{key: files[key] for key in keys})
    assert (refusal(made, HERE), refusal(made, THERE)) == refused
    made.close()


@pytest.mark.parametrize(
    ("limit", "words"),
    [
        ("allow", "no network of limits.443.allow or allow_file contains this address; add it there"),
        ("deny", "a network of limits.443.deny or deny_file contains this address; remove it there"),
        ("max_users", "limits.443.max_users is reached; raise it if these users are wanted"),
    ],
)
def test_an_objection_names_its_remedy(limit: str, words: str) -> None:
    assert str(Objection(limit, "limits.443")) == words


async def test_full_ports_refuse_whatever_the_source_may_do() -> None:
    made = await admission(Clock(), max_users=2, max_users_per_source=9)
    assert [refusal(made, HERE, users) for users in (0, 1, 2, 3)] == ["", "", "max_users", "max_users"]


async def test_new_users_of_one_source_are_limited_without_any_other_limit() -> None:
    clock = Clock()
    made = await admission(clock, new_users_per_second_per_source=1)
    limit = "new_users_per_second_per_source"
    assert [refusal(made, ip) for ip in (HERE, HERE, THERE, THERE)] == ["", limit, "", limit]
    clock.now += 1
    assert refusal(made, HERE) == ""


async def test_refused_users_are_not_counted() -> None:
    clock = Clock()
    made = await admission(clock, new_users_per_second=1, max_users_per_source=2)
    assert [refusal(made, HERE) for _ in range(3)] == ["", "new_users_per_second", "new_users_per_second"]
    clock.now += 1
    assert refusal(made, HERE) == ""


async def test_local_users_count_towards_no_source() -> None:
    made = await admission(Clock(), max_users_per_source=1, new_users_per_second_per_source=1)
    for _ in range(2):
        assert refusal(made, LOCAL) == ""
    await made.limit(LimitTables(ports=((PORT, Limits(max_users_per_source=1)),)), [(PORT, LOCAL)] * 2)
    assert made.used(PORT, 2)["max_users_per_source"] == 0
    made.left(PORT, LOCAL)
    assert refusal(made, HERE) == ""
    assert made.used(PORT, 2)["max_users_per_source"] == 1


async def test_lists_of_both_kinds_are_counted(files: dict[str, str]) -> None:
    made = await admission(Clock(), allow=(THERE, "203.0.113.0/24"), **files)
    assert made.listed(PORT) == {"allow": 3, "deny": 1}
    assert made.listed(80) == {}
    made.close()


def test_the_source_with_the_most_users() -> None:
    sources = Sources(Limits(max_users_per_source=9))
    assert sources.most == 0
    for source in (HERE, THERE, HERE):
        sources.count(source)
    assert sources.most == 2
    for _ in range(2):
        sources.leave(HERE)
    assert sources.most == 1


def test_the_source_without_a_new_user_for_longest_is_forgotten() -> None:
    sources = Sources(Limits(new_users_per_second_per_source=1), most_allowances=2)
    for source in ("one", "two", "three"):
        sources.enter(source, 0.0)
    assert [bool(sources.objection(source, 0.0)) for source in ("one", "two", "three")] == [False, True, True]

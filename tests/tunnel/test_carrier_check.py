"""The check whether users can be carried."""

import asyncio
import logging

import pytest
from tests.support.net import until

from backhaul.tunnel.carrier_check import CarrierCheck
from backhaul.tunnel.timings import Timings

log = logging.getLogger("backhaul.test")
AT_ONCE = Timings(first_carrier=0, first_proof=0)
WRONG = "the client runs ws, this server tcp"


async def test_no_tunnel_connection_at_all_is_a_problem() -> None:
    check = CarrierCheck(log, AT_ONCE)
    check.begin()
    await until(lambda: "no tunnel connection of this transport has arrived" in check.problem)


@pytest.mark.parametrize("sign", [CarrierCheck.seen, CarrierCheck.proved, CarrierCheck.end])
async def test_any_sign_ends_the_wait(sign: object, caplog: pytest.LogCaptureFixture) -> None:
    assert callable(sign)
    late, check = CarrierCheck(log, AT_ONCE), CarrierCheck(log, AT_ONCE)
    check.begin()
    sign(check)
    late.begin()
    await until(lambda: late.problem)
    assert not check.problem


async def test_a_seen_connection_may_prove_unsuitable_and_a_proved_one_may_not() -> None:
    check = CarrierCheck(log)
    check.begin()
    check.seen()
    check.mismatched(WRONG)
    check.seen()
    assert check.problem == WRONG
    check.proved()
    check.mismatched(WRONG)
    assert not check.problem


async def test_after_a_protected_handshake_only_silence_is_a_problem() -> None:
    check, silent = CarrierCheck(log), CarrierCheck(log, AT_ONCE)
    for each in (check, silent):
        each.begin()
        each.agreed()
    check.mismatched(WRONG)
    assert not check.problem
    await until(lambda: "no tunnel connection has arrived; let them pass the firewalls" in silent.problem)
    check.begin()
    check.mismatched(WRONG)
    assert check.problem == WRONG


async def test_the_next_control_channel_is_checked_again() -> None:
    check = CarrierCheck(log)
    check.begin()
    check.proved()
    check.end()
    check.begin()
    check.mismatched(WRONG)
    assert check.problem == WRONG
    check.begin()
    assert not check.problem
    check.end()


async def test_up_and_the_problem_are_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "backhaul")
    check = CarrierCheck(log)
    check.begin()
    for _ in range(3):
        check.seen()
    check.proved()
    check.begin()
    for _ in range(3):
        check.mismatched(WRONG)
    assert [(record.levelname, record.message) for record in caplog.records] == [
        ("INFO", "tunnel is up"),
        ("ERROR", f"no user can be carried: {WRONG}"),
    ]


async def test_an_answer_to_a_user_of_an_earlier_control_channel_proves_nothing() -> None:
    check, loop = CarrierCheck(log), asyncio.get_running_loop()
    before = loop.time() - 1
    check.begin()
    check.mismatched(WRONG)
    check.answered(before)
    assert check.problem == WRONG
    check.answered(loop.time())
    assert not check.problem


async def test_after_a_protected_handshake_the_wait_is_another() -> None:
    check = CarrierCheck(log, Timings(first_carrier=3600, first_proof=0))
    check.begin()
    check.agreed()
    await until(lambda: check.problem)


async def test_a_server_may_say_that_none_arrives() -> None:
    check = CarrierCheck(log)
    check.begin()
    check.agreed()
    check.seen()
    check.unreached()
    assert "no tunnel connection reaches the server" in check.problem
    check.proved()
    assert not check.problem


async def test_a_server_that_changes_its_mind_without_end_fills_no_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "backhaul")
    check = CarrierCheck(log)
    check.begin()
    check.agreed()
    for _ in range(100):
        check.proved()
        check.unreached()
    check.begin()
    check.proved()
    assert [record.levelname for record in caplog.records] == ["INFO", "ERROR", "INFO", "INFO"]

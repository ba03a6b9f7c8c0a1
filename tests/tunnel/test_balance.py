"""The choice of the client for a group's next user."""

from collections import Counter
from dataclasses import dataclass
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backhaul.config.groups import Balance as Kind
from backhaul.tunnel.balance import Balance, make_balance

KINDS: list[Kind] = ["least", "source", "order"]


@dataclass(eq=False)
class Member:
    position: int
    users: int = 0


def members(count: int) -> list[Member]:
    return [Member(position) for position in range(count)]


def present(kind: Kind, everyone: list[Member]) -> Balance[Member]:
    balance = make_balance(kind, everyone)
    for member in reversed(everyone):
        balance.add(member)
        balance.add(member)
    return balance


def chosen(balance: Balance[Member], ip: str = "192.0.2.1") -> Member:
    member = balance.choose(ip)
    assert member
    member.users += 1
    balance.moved(member)
    return member


@pytest.mark.parametrize("kind", KINDS)
def test_only_present_members_are_chosen(kind: Kind) -> None:
    everyone = members(3)
    balance = present(kind, everyone)
    for member in everyone:
        balance.discard(member)
        balance.discard(member)
    assert balance.choose("192.0.2.1") is None
    balance.add(everyone[1])
    assert {chosen(balance, f"192.0.2.{number}") is everyone[1] for number in range(99)} == {True}


@pytest.mark.parametrize("leaving", list(permutations(range(4))))
def test_members_that_have_left_get_no_users_of_an_address(leaving: tuple[int, ...]) -> None:
    everyone = members(4)
    balance, left = present("source", everyone), set(everyone)
    for position in leaving[:-1]:
        balance.discard(everyone[position])
        left.discard(everyone[position])
        assert {chosen(balance, f"192.0.2.{number}") for number in range(250)} == left


def test_the_first_in_order_gets_all_users() -> None:
    first, second, third = everyone = members(3)
    balance = present("order", everyone)
    assert chosen(balance) is first
    balance.discard(first)
    assert chosen(balance) is second
    balance.discard(second)
    assert chosen(balance) is third
    balance.add(first)
    assert chosen(balance) is first


def test_an_address_keeps_its_member_while_others_come_and_go() -> None:
    everyone = members(5)
    balance = present("source", everyone)
    addresses = [f"192.0.2.{number}" for number in range(250)]
    usual = {ip: chosen(balance, ip) for ip in addresses}
    assert min(Counter(member.position for member in usual.values()).values()) > 25
    balance.discard(everyone[2])
    moved = {ip: chosen(balance, ip) for ip in addresses}
    assert all(moved[ip] is member for ip, member in usual.items() if member is not everyone[2])
    assert len({moved[ip] for ip, member in usual.items() if member is everyone[2]}) > 1
    balance.add(everyone[2])
    assert {ip: chosen(balance, ip) for ip in addresses} == usual


def test_members_without_users_take_turns() -> None:
    balance = present("least", members(4))
    assert Counter(chosen(balance).position for _ in range(40)) == dict.fromkeys(range(4), 10)


@given(st.lists(st.tuples(st.sampled_from(["come", "leave", "add", "discard"]), st.integers(0, 4))))
def test_the_one_with_the_fewest_users_is_chosen(steps: list[tuple[str, int]]) -> None:
    everyone, there = members(5), set(range(5))
    balance = present("least", everyone)
    for step, number in steps:
        member = everyone[number]
        if step == "add":
            balance.add(member)
            there.add(number)
        elif step == "discard":
            balance.discard(member)
            there.discard(number)
        elif step == "leave" and member.users:
            member.users -= 1
            balance.moved(member)
        elif step == "come" and there:
            fewest = min(everyone[other].users for other in there)
            assert chosen(balance).users == fewest + 1
    assert (balance.choose("") is None) == (not there)

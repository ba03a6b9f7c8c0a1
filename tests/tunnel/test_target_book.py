"""The bounded counters of a client's targets."""

from hypothesis import given
from hypothesis import strategies as st

from backhaul.tunnel.target_book import TargetBook, TargetCounters


def use(book: TargetBook, target: str, size: int = 1) -> None:
    """Count a user who has connected, moved some bytes and left."""
    counters = book[target]
    counters.user_came()
    counters.traffic.sent.bytes += size
    counters.user_closed()


def targets(book: TargetBook) -> list[str]:
    return [target for target, _ in book]


def test_the_target_unused_for_longest_is_added_to_the_others() -> None:
    book = TargetBook(2)
    for target in ("a", "b", "a", "c"):
        use(book, target)
    assert targets(book) == ["a", "c"]
    assert (book.others.total, book.others.traffic.sent.bytes) == (1, 1)


def test_a_target_with_users_stays() -> None:
    book = TargetBook(2)
    book["open"].user_came()
    for number in range(10):
        use(book, str(number))
    assert targets(book) == ["open", "9"]


def test_a_target_with_udp_users_stays() -> None:
    book = TargetBook(2)
    book["open"].flow_came()
    for number in range(10):
        use(book, str(number))
    assert targets(book) == ["open", "9"]
    book["open"].flow_closed()
    use(book, "10")
    use(book, "11")
    assert targets(book) == ["10", "11"]


def test_if_all_targets_have_users_a_new_one_counts_among_the_others() -> None:
    book = TargetBook(2)
    book["a"].user_came()
    book["b"].user_came()
    use(book, "c")
    assert targets(book) == ["a", "b"]
    assert book.others.total == 1


def test_unused_others_are_not_shown() -> None:
    book = TargetBook(1)
    assert not book.others.state().used
    for target in ("a", "b"):
        book[target].dropped += 1
    assert book.others.state().used


@given(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.integers(0, 9), st.booleans())))
def test_totals_stay_right(users: list[tuple[str, int, bool]]) -> None:
    book, staying = TargetBook(3), []
    for target, size, stays in users:
        counters = book[target]
        counters.user_came()
        counters.traffic.received.bytes += size
        counters.refused += 1
        staying.append(counters) if stays else counters.user_closed()
    everything = TargetCounters("")
    for counters in (book.others, *(counters for _, counters in book)):
        everything.absorb(counters)
    assert len(book) <= 3
    assert everything.total == everything.refused == len(users)
    assert everything.traffic.received.bytes == sum(size for _, size, _ in users)
    assert sum(counters.open for counters in {*staying}) == len(staying)

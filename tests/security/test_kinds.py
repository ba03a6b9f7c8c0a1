"""The padding of targets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backhaul.security import kinds
from backhaul.security.records import RecordError
from backhaul.wire.targets import MAX_TARGET


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), st.integers(0, kinds.MAX_PADDING))
def test_padding_leaves_the_target(target: str, padding: int) -> None:
    padded = kinds.pad(target.encode(), padding)
    assert len(padded) == len(target.encode()) + padding
    assert kinds.unpad(padded) == target.encode()


def test_a_target_has_a_limit() -> None:
    assert kinds.unpad(b"x" * MAX_TARGET + bytes(9)) == b"x" * MAX_TARGET
    with pytest.raises(RecordError):
        kinds.unpad(b"x" * (MAX_TARGET + 1))

"""The limit on unauthenticated connections of a process."""

import pytest

from backhaul.assembly import gate_limits

GIB = 1 << 30


@pytest.mark.parametrize(
    ("descriptors", "memory", "pending"),
    [
        (1024, 4 * GIB, 256),
        (1 << 20, 4 * GIB, 8192),
        (1 << 20, 64 << 20, 248),  # of 33 KiB each: an eighth of the memory
        (8, 0, 4),
    ],
)
def test_descriptors_and_memory_limit_them(descriptors: int, memory: int, pending: int) -> None:
    assert gate_limits(descriptors, memory).pending == pending

"""Buffers shared by all relays, filled and emptied within one wake-up."""

import mmap


def shared_buffer(size: int) -> memoryview:
    """Return ``size`` bytes that occupy memory only once they are used; most processes never use most of them."""
    return memoryview(mmap.mmap(-1, size))

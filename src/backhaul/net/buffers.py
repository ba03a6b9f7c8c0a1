"""Buffers of all relays: some are filled and emptied within one wake-up, others kept for a while."""

import contextlib
import mmap
from typing import Final

_HUGE: Final = getattr(mmap, "MADV_HUGEPAGE", None)


def shared_buffer(size: int) -> memoryview:
    """Return ``size`` bytes that occupy memory only once they are used; most processes never use most of them."""
    return memoryview(mmap.mmap(-1, size))


def huge_buffer(size: int) -> memoryview:
    """Return ``size`` bytes, a multiple of 2 MiB, in huge pages if the kernel has them: one page fault for each."""
    buffer = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if _HUGE is not None:
        with contextlib.suppress(OSError):
            buffer.madvise(_HUGE)
    return memoryview(buffer)


def release_free_memory() -> None:
    """Give memory that was freed back to the kernel; the allocator keeps all that lies below a piece in use."""
    import ctypes  # noqa: PLC0415 - takes memory, and most processes never need it

    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # of glibc only
    if trim:
        trim(0)

"""Heads and bodies as nginx reads them, with any cuts; the comparison with nginx is in tests/interop."""

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.probes import PROBES

from backhaul.transports.gates.decoy.body import ChunkedBody
from backhaul.transports.gates.decoy.head import BadRequestError, Head, HeadReader

Outcome = tuple[Head, bytes] | int | None
_PROGRAM = "*/backhaul/*"


def read(data: bytes, size: int) -> Outcome:
    """Return head and rest, the status of a refusal, or None while the head is incomplete."""
    reader, buffer = HeadReader(), bytearray()
    try:
        for start in range(0, len(data), size):
            buffer += data[start : start + size]
            if reader.read(buffer):
                return reader.head, bytes(buffer) + data[start + size :]
    except BadRequestError as error:
        return error.status
    return None


def test_bytes_one_by_one_make_no_difference() -> None:
    short = {name: probe for name, probe in PROBES.items() if len(probe) < 1000}
    assert [name for name, probe in short.items() if read(probe, 1) != read(probe, 1 << 16)] == []


@given(
    st.lists(
        st.sampled_from(
            [b"GET", b" ", b"/", b"a", b"%41", b"..", b"HTTP/1.1", b"\r\n", b"\n", b"Host: x", b":", b"\x00"]
        )
    )
)
def test_any_bytes_are_read_or_refused(pieces: list[bytes]) -> None:
    data = b"".join(pieces)
    assert read(data, 1) == read(data, 3)


@given(st.lists(st.binary(min_size=1, max_size=50), max_size=5), st.integers(1, 20), st.binary(max_size=5))
def test_chunks_are_read_with_any_cuts(chunks: list[bytes], size: int, behind: bytes) -> None:
    framed = (
        b"".join(b"%x;x=y\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\nTrailer: 1\r\n\r\n" + behind
    )
    body, buffer, content = ChunkedBody(), bytearray(), b""
    for start in range(0, len(framed), size):
        buffer += framed[start : start + size]
        content += body.take(buffer)
    assert (content, body.done, bytes(buffer)) == (b"".join(chunks), True, behind)


@pytest.mark.parametrize(
    "said", [b"x\r\n", b"-1\r\n", b"1\r\nab", b"1\r\na\rb", b"\r\n", b"1" * 17, b"0\r\n" + b"a" * 9000]
)
def test_invalid_chunks_are_refused(said: bytes) -> None:
    body, buffer = ChunkedBody(), bytearray(said)
    with pytest.raises(BadRequestError):
        body.take(buffer)


@pytest.mark.parametrize(("line", "count"), [(b"X-%d: a\r\n", 2500), (b"X-%d: " + b"a" * 8000 + b"\r\n", 3)])
def test_a_head_is_kept_once(line: bytes, count: int) -> None:
    buffer = bytearray(b"GET / HTTP/1.1\r\n" + b"".join(line % number for number in range(count)))
    size, reader = len(buffer), HeadReader()
    tracemalloc.start()
    complete = reader.read(buffer)
    memory = tracemalloc.take_snapshot().filter_traces([tracemalloc.Filter(True, _PROGRAM)])
    tracemalloc.stop()
    used = sum(trace.size for trace in memory.traces)
    assert not complete
    assert size <= used < 1.3 * size + 1000

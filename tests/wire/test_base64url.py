import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backhaul.wire import base64url


@given(st.binary(max_size=200))
def test_text_is_that_of_the_standard_library_without_padding(data: bytes) -> None:
    text = base64url.encode(data)
    assert text == base64.urlsafe_b64encode(data).rstrip(b"=")
    assert len(text) == base64url.size(len(data))
    assert base64url.decode(text) == base64url.decode(memoryview(text)) == data


@pytest.mark.parametrize("text", [b"", b"A", b"AAAAA", b"QUJD\n", b"QU JD", b"QU*D", b"QUJ\xc4"])
def test_other_text_holds_nothing(text: bytes) -> None:
    assert base64url.decode(text) == b""


@given(st.binary(max_size=80))
def test_any_bytes_are_read_without_an_error(data: bytes) -> None:
    assert len(base64url.decode(data)) <= len(data)

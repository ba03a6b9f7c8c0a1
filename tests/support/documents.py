"""A status socket with the same document for every request."""

from collections.abc import Callable, Iterator

import msgspec


def documents(read: Callable[[], object]) -> Callable[[str], Iterator[bytes]]:
    """Return what answers every request with the present result of ``read``."""

    def respond(_: str) -> Iterator[bytes]:
        yield msgspec.json.encode(read())

    return respond

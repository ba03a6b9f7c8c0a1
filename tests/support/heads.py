"""Heads of HTTP messages."""


def with_header(head: bytes, name: bytes, value: bytes | None) -> bytes:
    """Return ``head`` with another value for a header, or without it."""
    lines = head.split(b"\r\n")
    kept = [line for line in lines[1:-2] if not line.lower().startswith(name.lower() + b":")]
    added = [] if value is None else [name + b": " + value]
    return b"\r\n".join([lines[0], *kept, *added, b"", b""])

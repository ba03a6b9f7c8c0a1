"""The reports of an end as plain data: a user who has left, and other events. Nothing holds a secret."""

from msgspec import Struct


class UserEnd(Struct, gc=False):
    """A user of the server who has left, in the words of the access log."""

    time: str
    """The end, as in RFC 3339; empty until the access log has it."""
    id: int
    protocol: str
    """tcp or udp."""
    user: str
    """Address, without the port."""
    user_port: int
    """Port of the user, 0 on a Unix socket."""
    port: str
    """Address and number of the local port."""
    client: str
    target: str
    received: int
    """Bytes from the user."""
    sent: int
    """Bytes to the user."""
    seconds: float
    ending: str
    """One of a few words, such as "user" or "timeout"."""


class Notice(Struct, frozen=True, omit_defaults=True):
    """Something that happened to an end, in the words of ``on_event``."""

    event: str
    """connected, lost, port_down, port_up, limit or certificate."""
    peer: str = ""
    """The address of the other end."""
    client: str = ""
    """The name of the client."""
    server: str = ""
    """The server, on a client that has several."""
    port: str = ""
    """Address and number of the local port."""
    user: str = ""
    """The address of a user."""
    limit: str = ""
    """The key of the limit."""
    reason: str = ""
    file: str = ""
    """The file of the certificate."""
    ends: str = ""
    """The end of the certificate, as in RFC 3339."""

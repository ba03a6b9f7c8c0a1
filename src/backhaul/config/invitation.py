"""The line with which a server invites its client: everything that the client's file needs, and a checksum."""

import base64
import binascii
import zlib
from typing import Final

import msgspec

from backhaul.errors import UNREADABLE

from .address import Address
from .messages import show
from .schema import ServerConfig
from .secret import Secret

SCHEME: Final = "backhaul://"
_VERSION: Final = b"\x01"
_CHECKSUM: Final = 4  # bytes
_SWAPPED: Final = str.maketrans("-_+/", "+/-_")  # the letters of URL-safe base64, and those that it lacks

_Fields = tuple[str, str, str, int, str]


class Invitation(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of a server that its client needs."""

    address: str
    """As in ``remote_addr``."""
    transport: str
    token: Secret
    mux_version: int
    path: str

    def line(self) -> str:
        """Return the line; it holds the token."""
        fields: _Fields = (self.address, self.transport, self.token.reveal(), self.mux_version, self.path)
        body = _VERSION + msgspec.msgpack.encode(fields)
        return SCHEME + base64.urlsafe_b64encode(body + _checksum(body)).decode().rstrip("=")

    def text(self) -> str:
        """Return the client's configuration."""
        keys: dict[str, str | int] = {
            "remote_addr": self.address,
            "transport": self.transport,
            "token": self.token.reveal(),
            "security": "required",
        }
        keys |= {"mux_version": self.mux_version} if self.mux_version != 1 else {}
        keys |= {"path": self.path} if self.path else {}
        return "[client]\n" + "".join(f"{name} = {show(value)}\n" for name, value in keys.items())


def invitation(config: ServerConfig, token: Secret, address: Address) -> Invitation:
    """Return the invitation to a server that clients dial at ``address``, with the token of one of them."""
    return Invitation(
        address=str(address),
        transport=config.transport,
        token=token,
        mux_version=config.mux_version if config.facts.mux else 1,
        path=config.path if config.facts.http else "",
    )


def read_line(line: str) -> Invitation:
    """Read a line, which a terminal may have broken; raise ValueError with the mistake, which holds nothing of it."""
    scheme, _, code = "".join(line.split()).partition("//")
    if scheme + "//" != SCHEME:
        raise ValueError(f"expected a line that begins with {SCHEME}, as `backhaul server invite` prints it")
    body = _decoded(code)
    if body[:1] != _VERSION:
        raise ValueError("the line is of a newer version of this program; update this one")
    try:
        address, transport, token, mux_version, path = msgspec.msgpack.decode(body[1:], type=_Fields)
    except UNREADABLE:
        raise ValueError("the line can't be read; print another with `backhaul server invite`") from None
    return Invitation(address=address, transport=transport, token=Secret(token), mux_version=mux_version, path=path)


def _decoded(code: str) -> bytes:
    """Return the content of a line without its checksum, which must be right."""
    try:
        whole = base64.b64decode(code.translate(_SWAPPED) + "=" * (-len(code) % 4), validate=True)
    except (ValueError, binascii.Error):  # letters beyond ASCII, or of no base64
        whole = b""
    body, checksum = whole[:-_CHECKSUM], whole[-_CHECKSUM:]
    if checksum != _checksum(body):
        raise ValueError(f"the line is incomplete or altered; copy all of it, from {SCHEME} to its last letter")
    return body


def _checksum(body: bytes) -> bytes:
    return zlib.crc32(body).to_bytes(_CHECKSUM, "big")

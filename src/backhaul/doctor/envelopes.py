"""The two ways in which messages of the handshake travel: frames, and cookies of an HTTP upgrade."""

import random
import secrets
from contextlib import suppress
from email.utils import parsedate_to_datetime
from typing import Final, NamedTuple

from backhaul.config import ClientConfig
from backhaul.wire import base64url, upgrade
from backhaul.wire.frames import FrameReader, FrameTooLongError, Sealed, sealed_kind, sealed_message
from backhaul.wire.http1 import HeadError, Response, ResponseReader

from .channel import Channel

_READ: Final = 1 << 14
_MAX_ANSWER: Final = base64url.size(2048)  # characters of the answer to a large probe
_BAD_REQUEST: Final = 400
_SHOWN: Final = 40  # bytes of other data than an answer


class Silence(NamedTuple):
    """The absence of a valid answer, or other bytes in its place."""

    what: str
    status: int = 0
    """The HTTP status of a server that answered something else; otherwise 0."""
    clock: float = 0.0
    """The time of that server in seconds since 1970, UTC; 0 if it did not tell."""


async def in_frames(channel: Channel, message: bytes) -> bytes | Silence:
    """Exchange a message as tcp, tcpmux and udp do."""
    await channel.send(Sealed.HANDSHAKE.frame(message, secrets.randbits(6)))
    reader, received = FrameReader(_MAX_ANSWER), b""
    while data := await channel.reader.read(_READ):
        received = (received + data)[:_SHOWN]
        with suppress(FrameTooLongError):
            if not (frame := reader.feed(data)):
                continue
            if sealed_kind(frame.kind) is Sealed.HANDSHAKE:
                return sealed_message(frame.body)
        status = _BAD_REQUEST if received.startswith(b"HTTP/") else 0
        return Silence(f"the program that answers is not Backhaul: it sent {_printable(received)}", status)
    return Silence("the server closed the connection without an answer")


async def in_cookies(channel: Channel, message: bytes, config: ClientConfig) -> bytes | Silence:
    """Exchange a message as the transports over HTTP do."""
    key = upgrade.encode_key(secrets.token_bytes(upgrade.NONCE_SIZE))
    asked = upgrade.Asked(
        path=f"{config.path}/channel",
        host=str(config.remote_addr.unscoped),
        default_port=config.facts.default_port,
        key=key,
        user_id=secrets.randbits(31),
        user_agent=random.choice(upgrade.USER_AGENTS),  # noqa: S311 - no secret
    )
    await channel.send(upgrade.sealed_request(asked, message))
    head, answer, received = ResponseReader(), upgrade.AnswerReader(key), b""
    while data := await channel.reader.read(_READ):
        received = (received + data)[:_SHOWN]
        try:
            response = head.feed(data)
            agreed = answer.feed(data)
        except upgrade.UpgradeError as error:
            text = str(error)
            what = text.partition(": ")[0] if text.endswith("?") else text  # the remedies are questions
            return Silence(what, response.status if response else 0, _date(response))
        except HeadError:
            return Silence(f"the program that answers does not speak HTTP: it sent {_printable(received)}")
        if agreed:
            return agreed.message or Silence("a WebSocket server answered, without the handshake", 101)
    return Silence("the server closed the connection without an answer")


async def date_of(channel: Channel, host: str) -> float:
    """Return the time of a web server in seconds since 1970, UTC; 0 if it does not tell."""
    channel.writer.write(f"HEAD / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    head = ResponseReader()
    while data := await channel.reader.read(_READ):
        with suppress(HeadError):
            if not (response := head.feed(data)):
                continue
            return _date(response)
        break
    return 0.0


def _date(response: Response | None) -> float:
    if response:
        with suppress(ValueError, TypeError):
            return parsedate_to_datetime(response.headers.get(b"date", b"").decode("latin-1")).timestamp()
    return 0.0


def _printable(data: bytes) -> str:
    text = data.decode("ascii", errors="replace").split("\r")[0].split("\n")[0]
    return f'"{text}"' if text.isprintable() else data[: _SHOWN // 2].hex(" ")

"""The test vectors of docs/protocol.md, computed by the code."""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from backhaul.security import kinds
from backhaul.security.datagrams import DatagramSealer
from backhaul.security.hello import PROLOGUES, ClientHello, ServerHello, encode
from backhaul.security.hint import with_hint
from backhaul.security.noise import Initiator, Keys, Responder, Shared
from backhaul.security.psk import pre_shared_key
from backhaul.security.records import Cipher
from backhaul.security.session import Admissions, Register, SessionKeys, Side
from backhaul.wire import frames, upgrade
from backhaul.wire.announcements import Announcement, Assignment, announce, assign
from backhaul.wire.messages import encode_refusal
from backhaul.wire.peer import Feature
from backhaul.wire.signals import Signal

PAGE = Path(__file__).parents[2] / "docs" / "protocol.md"
VECTOR = re.compile(r"^([\w ,]+) =\n((?:  [\w-]+\n)+)", re.MULTILINE)

TOKEN = b"bh1_" + b"A" * 43
FEATURES = tuple(sorted(Feature))
CLIENT = ClientHello(transport="tcpmux", features=FEATURES, aes=True, padding=bytes(5))
SESSION, LOCATOR, NONCE = 7, bytes(range(0x60, 0x80)), bytes(range(0x80, 0x8C))
SERVER = ServerHello(features=FEATURES, cipher=Cipher.AES_128_GCM, session=SESSION, locator=LOCATOR, padding=bytes(3))
TUNNEL = bytes(range(0x90, 0x98))
EPOCH = 1 << 20


@cache
def printed() -> dict[str, str]:
    """Return the vectors of the page by their names."""
    found = VECTOR.findall(PAGE.read_text(encoding="utf-8"))
    return {name: "".join(digits.split()) for name, digits in found}


@cache
def computed() -> dict[str, str]:
    """Return the same vectors, made by the code."""
    vectors: dict[str, bytes] = {}
    vectors |= {"psk of bh1_": pre_shared_key(TOKEN), "psk of musix": pre_shared_key(b"musix")}
    keys = handshake(vectors)
    client = SessionKeys(keys.master, Side.CLIENT, Cipher.AES_128_GCM, payload=True)
    server = SessionKeys(keys.master, Side.SERVER, Cipher.AES_128_GCM, payload=True)
    vectors |= {"master": keys.master, **control(client, server), **tunnel(client, server), **datagrams(client, server)}
    vectors |= targets(SessionKeys(keys.master, Side.SERVER, Cipher.AES_128_GCM, payload=False))
    texts = {name: data.hex() for name, data in vectors.items()}
    return texts | {"admission as a cookie": cookie(vectors["admission"])}


def handshake(vectors: dict[str, bytes]) -> Keys:
    """Add the messages of a handshake; return its keys."""
    shared = Shared.mix(pre_shared_key(TOKEN), PROLOGUES[False])
    client = Initiator(shared, bytes(range(0x20, 0x40)))
    message = client.begin(encode(CLIENT))
    first = with_hint(pre_shared_key(TOKEN), message)
    second, keys = Responder(shared, message).answer(encode(SERVER), bytes(range(0x40, 0x60)))
    assert client.finish(second)[1].master == keys.master
    vectors |= {"client hello": encode(CLIENT), "first message": first}
    vectors |= {"server hello": encode(SERVER), "second message": second}
    vectors["first frame"] = frames.Sealed.HANDSHAKE.frame(first, 5)
    return keys


def control(client: SessionKeys, server: SessionKeys) -> dict[str, bytes]:
    """Return records of a control channel."""
    from_client, from_server = client.control().sealer, server.control().sealer
    return {
        "control, client, record 0": from_client.frame(Signal.PROBE, bytes(2)),
        "control, client, record 1": from_client.frame(Signal.REFUSED, encode_refusal("22", "not allowed", b"")),
        "control, server, record 0": from_server.frame(Signal.ANSWER, bytes(1)),
    }


def tunnel(client: SessionKeys, server: SessionKeys) -> dict[str, bytes]:
    """Return the first bytes of a tunnel connection in both directions."""
    admission, seals = Admissions(client, SESSION, LOCATOR).next(NONCE)
    register: Register[str] = Register(LOCATOR)
    register.enter(SESSION, server, "owner")
    found = register.check(admission)
    assert found
    from_server = found[1].sealer
    target = from_server.frame(kinds.TCP, b"5201")
    late = server.tunnel(1).sealer
    late.skip_to(EPOCH)
    return {
        "admission": admission,
        "tunnel, server, record 0": target,
        "tunnel, server, record 1": from_server.frame(kinds.DATA, b"hello"),
        "tunnel, client, record 0": seals.sealer.frame(kinds.DATA, b"world"),
        "tunnel, client, record 1": seals.sealer.frame(kinds.END, kinds.put_taken(5)),
        "tunnel, client, record 2": seals.sealer.frame(kinds.FREE),
        "tunnel 1, server, record 1048576": late.frame(kinds.DATA, b"hello"),
    }


def targets(server: SessionKeys) -> dict[str, bytes]:
    """Return sealed targets before payload in clear."""
    session = server.tunnel(0).sealer
    session.skip_to(3)
    return {
        "target of tunnel 1": server.tunnel(1).sealer.frame(kinds.TCP, b"5201"),
        "target of stream 3": session.seal(b"5201"),
    }


def cookie(message: bytes) -> str:
    """Return the value of the cookie that holds a message."""
    return upgrade.message_line(message).decode().partition("session=")[2].partition(";")[0]


def datagrams(client: SessionKeys, server: SessionKeys) -> dict[str, bytes]:
    """Return datagrams of transport udp in both directions."""
    label = b"announcements"
    announcing = DatagramSealer(client.datagrams(label)[0], client.cipher)
    assigning = DatagramSealer(server.datagrams(label)[0], server.cipher)
    flow = DatagramSealer(server.datagrams(b"tunnel" + TUNNEL + bytes([0] * 7 + [1]))[0], server.cipher)
    return {
        "udp, announcement": announcing.seal(announce(Announcement(TUNNEL, 0), 1)),
        "udp, assignment": assigning.seal(assign(Assignment(TUNNEL, 1, "53"), 1)),
        "udp, datagram of the user": flow.seal(b"hello"),
    }


def lines() -> Iterator[str]:
    """Yield the vectors in the form of the page."""
    for name, digits in computed().items():
        yield f"{name} =\n" + "".join(f"  {digits[at : at + 96]}\n" for at in range(0, len(digits), 96))


@pytest.mark.parametrize("name", computed())
def test_the_page_shows_what_the_code_makes(name: str) -> None:
    assert printed().get(name) == computed()[name]


def test_the_page_shows_no_other_vectors() -> None:
    assert printed().keys() == computed().keys()

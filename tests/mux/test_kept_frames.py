"""The memory for frames that are kept until they are acknowledged."""

import socket

from backhaul.mux.pacing import Pace
from backhaul.relay.channel import FRAMES_AT, MAX_FRAMES
from backhaul.relay.frames import KEPT_SIZE
from backhaul.wire.smux import HEADER_SIZE


def test_it_has_room_for_the_most_that_a_stream_sends_at_once() -> None:
    conn, other = socket.socketpair()
    with conn, other:
        payload = Pace(conn).burst
    headers_and_end = (MAX_FRAMES + 1) * HEADER_SIZE
    assert FRAMES_AT + payload + headers_and_end <= KEPT_SIZE

"""The rest of datagrams that the window of a stream has cut, and parts of datagrams that have arrived."""

from types import SimpleNamespace
from typing import Any

from backhaul.net.udp import Counters, QueueRoom
from backhaul.relay.datagrams_in_channel import DatagramChannel
from backhaul.wire.datagrams import join

SIZE = 1000


class Window:
    """A stream with so much of its window left."""

    blocked = False
    frame_size = 1 << 16
    header_room = 0
    burst = quantum = 1 << 16

    def __init__(self, left: int) -> None:
        self.left = left
        self.frames = SimpleNamespace(memory=memoryview(bytearray(1 << 17)))
        self.dropped = 0

    def room(self) -> int:
        """See Channel."""
        return self.left

    def send_frames(self, count: int) -> None:
        """See Channel."""
        self.left -= count

    def touch(self, consumer: object) -> None:
        """See Channel."""

    def drop(self, *, reset: bool) -> None:
        """See Channel."""
        assert not reset
        self.dropped += 1


def flow_in(window: Any, room: QueueRoom) -> tuple[DatagramChannel, list[str]]:  # noqa: ANN401 - a part of a channel
    flow, ends = DatagramChannel(window, Counters(), room.of(window)), list[str]()

    def ended() -> None:
        ends.append("ended")
        flow.close()

    flow.start(lambda _batch: None, ended)
    return flow, ends


def test_a_rest_takes_room_until_it_leaves() -> None:
    window, room = Window(SIZE // 2), QueueRoom(SIZE)
    flow, ends = flow_in(window, room)
    flow.send([bytes(SIZE)])
    assert SIZE // 2 <= room.held < SIZE
    window.left = SIZE
    flow.on_window()
    assert (room.held, ends) == (0, [])
    flow.close()


def test_a_rest_for_which_there_is_no_room_ends_the_flow() -> None:
    window, room = Window(SIZE // 2), QueueRoom(0)
    flow, ends = flow_in(window, room)
    flow.send([bytes(SIZE)])
    assert (room.held, ends, window.dropped) == (0, ["ended"], 1)


def test_a_part_that_has_arrived_takes_room_until_the_rest_arrives() -> None:
    window, room = Window(SIZE), QueueRoom(SIZE)
    flow, ends = flow_in(window, room)
    frame = memoryview(join([bytes(SIZE)]))
    assert flow.on_data(frame[:300]) == 300
    assert room.held == 300
    flow.on_data(frame[300:])
    assert (room.held, ends) == (0, [])
    flow.close()


def test_a_part_for_which_there_is_no_room_ends_the_flow() -> None:
    window, room = Window(SIZE), QueueRoom(0)
    flow, ends = flow_in(window, room)
    whole = join([b"whole"])
    flow.on_data(memoryview(whole + whole[:-1]))
    assert (room.held, ends, window.dropped) == (0, ["ended"], 1)

"""Queues of datagrams that share a room."""

from backhaul.net.udp import QUEUE_BYTES, Counters, DatagramQueue, QueueRoom

ROOM = 1 << 20
LEAST = 2048  # bytes for each queue
FULL = [bytes(936)] * 300  # with their overhead 300 KB
BATCH = 20


def fill(queue: DatagramQueue) -> int:
    """Send until the queue drops something; return its size."""
    for start in range(0, len(FULL), BATCH):
        queue.send(FULL[start : start + BATCH])
    return queue.size


def queues(room: QueueRoom, count: int, owner: str = "client") -> list[DatagramQueue]:
    return [DatagramQueue(Counters(), room=room.of(owner)) for _ in range(count)]


def test_one_queue_may_use_all_of_its_limit() -> None:
    assert fill(DatagramQueue(Counters(), room=QueueRoom(100 * ROOM).of("client"))) > QUEUE_BYTES - 1000


def test_many_queues_share_the_room_and_each_gets_a_datagram() -> None:
    room, count = QueueRoom(ROOM), 1000
    many = queues(room, count)
    for _ in range(3):
        assert all(fill(queue) for queue in many)
        assert room.held <= ROOM + count * LEAST
    for queue in many:
        queue.close()
    assert not room.held


def test_the_queues_of_one_owner_leave_each_other_one_a_share() -> None:
    room = QueueRoom(ROOM)
    hostile = queues(room, 1000)
    for _ in range(3):
        for queue in hostile:
            fill(queue)
    assert room.held > ROOM
    (second,) = queues(room, 1, "second")
    alone = fill(second)
    assert alone > 10 * LEAST
    third = queues(room, 1000, "third")
    for queue in third:
        fill(queue)
    assert room.held <= 2 * ROOM + 2000 * LEAST
    assert fill(second) > alone // 2
    for queue in (*hostile, *third, second):
        queue.close()
    assert (room.held, room.owners) == (0, 0)


def test_what_leaves_a_queue_leaves_the_room() -> None:
    heights: list[int] = []
    room = QueueRoom(ROOM, heights.append)
    taken, pieces, closed = queues(room, 3)
    for queue in (taken, pieces, closed):
        queue.send(FULL[:3])
    assert room.held == 3 * 3000
    taken.take()
    pieces.take_some(1)
    closed.keep_beside(5)
    assert room.held == 2000 + 3005
    closed.close()
    pieces.take_some(2000)
    assert heights == [3000, 6000, 9000, 6000, 5000, 5005, 2000, 0]


def test_bytes_beside_a_queue_need_room() -> None:
    room = QueueRoom(ROOM)
    one, other = queues(room, 2)
    assert one.keep_beside(2 * ROOM)
    assert not other.keep_beside(1)
    (others,) = queues(room, 1, "another client")
    assert others.keep_beside(ROOM)
    assert not others.keep_beside(ROOM + 1)
    others.keep_beside(0)
    one.keep_beside(0)
    assert other.keep_beside(1)
    assert DatagramQueue(Counters()).keep_beside(3 * ROOM)

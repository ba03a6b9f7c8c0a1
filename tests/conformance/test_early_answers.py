"""A target that answers before it has read the request, and closes: its answer arrives before the reset."""

import asyncio

import pytest
from tests.support.net import received_before_the_end, upload
from tests.support.tunnel import Net

TIMES = 10  # the order in which the program learns of both differs


@pytest.mark.parametrize("busy", [0, 1, 2])
async def test_an_answer_to_an_unwanted_upload(any_net: Net, busy: int) -> None:
    listener = any_net.listen()
    tunnel = await any_net.tunnel(listener.port)
    for _ in range(TIMES):
        user = await tunnel.user()
        target = await listener.accept()
        uploading = asyncio.ensure_future(upload(user))
        await target.receive(busy * 100_000 + 1)
        await target.send(b"413")
        target.close()  # with unread bytes: a reset
        assert await received_before_the_end(user) == b"413"
        await uploading

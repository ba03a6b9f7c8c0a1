"""Turns of the event loop."""

import asyncio


async def turns() -> None:
    """Let the event loop poll its descriptors a few times."""
    for _ in range(5):
        await asyncio.sleep(0)

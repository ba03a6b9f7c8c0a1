"""All users: ``python -m bench.survive.crowd ECHO DOWNLOAD UPLOAD SSH SECONDS FOLDER``, in the server's namespace.

They create FOLDER/ready when all of them have had an answer, and write FOLDER/users.json SECONDS later, and a pause for
late answers.
"""

import asyncio
import sys
from pathlib import Path

import msgspec

from bench.survive.remote import Copies, Session
from bench.survive.users import PATIENCE, Busy, Download, Idle, Shell, Upload, User

IDLE_USERS, BUSY_USERS = 200, 50
ARRIVAL = 0.02  # seconds from one user to the next: this is no test of new connections
QUIET = 20.0  # seconds after the last fault, in which all users must recover


def crowd(ports: list[int], over: asyncio.Event, folder: Path) -> list[User]:
    """Return all users."""
    kinds: list[type[User]] = [Shell, Download, Upload, *[Busy] * BUSY_USERS, *[Idle] * IDLE_USERS]
    return [Session(ports, over, folder), Copies(ports, over, folder), *(kind(ports, over) for kind in kinds)]


async def main(ports: list[int], seconds: float, folder: Path) -> None:
    """Run all users, and write their results."""
    over = asyncio.Event()
    users = crowd(ports, over, folder)
    tasks = []
    for user in users:
        tasks.append(asyncio.ensure_future(user.run()))
        await asyncio.sleep(ARRIVAL)
    for user in users:
        await user.ready.wait()
    (folder / "ready").touch()
    await asyncio.sleep(seconds + QUIET)
    over.set()
    _, stuck = await asyncio.wait(tasks, timeout=PATIENCE)
    for task in stuck:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    records = folder / "users.new"
    records.write_bytes(msgspec.json.encode([user.record for user in users]))
    records.rename(folder / "users.json")


if __name__ == "__main__":
    *numbers, time_arg, folder_arg = sys.argv[1:]
    asyncio.run(main([int(number) for number in numbers], float(time_arg), Path(folder_arg)))

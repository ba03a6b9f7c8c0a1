"""The shapes of a tunnel that are compared, as far as the limits of the machine have room for them."""

from collections.abc import Iterable
from typing import NamedTuple

from bench.machine import local_ports, raise_file_limit
from bench.report.results import Shape
from bench.scenarios.variants import VARIANTS

USERS_PER_SESSION = 5
STREAMS = 8  # default of mux_con: users in a session before another one is opened
SPARE_FILES = 1000  # for pools, listening ports, pipes and the users beside the crowd
SPARE_PORTS = 4000  # for connections of the last minute


class Sizes(NamedTuple):
    """The sizes to compare."""

    users: list[int]
    ports: int
    sessions: int


class Room(NamedTuple):
    """The limits of one process."""

    files: int
    local_ports: int

    @classmethod
    def make(cls, sizes: Sizes) -> "Room":
        """Raise the limit of open files as far as it is needed and permitted, and read both."""
        wanted = max(shape.users for shape in shapes("tcp", sizes)) * 2 + SPARE_FILES + sizes.ports
        return cls(raise_file_limit(wanted), local_ports())

    def __str__(self) -> str:
        return f"a process with {self.files} open files and {self.local_ports} local ports"

    def users(self, variant: str) -> int:
        """Return the largest number of users that one server and one client have room for."""
        # Each user is a descriptor and a share of a session, or two descriptors.
        per_user = 1 + 1 / STREAMS if is_muxed(variant) else 2
        return min(int((self.files - SPARE_FILES) / per_user), self.local_ports - SPARE_PORTS)


def is_muxed(variant: str) -> bool:
    """Return whether users of a variant share sessions."""
    return "mux" in VARIANTS[variant].transport


def shapes(variant: str, sizes: Sizes) -> list[Shape]:
    """Return the shapes to compare: by users, then a user on each of many ports, then many sessions."""
    found = [Shape(users) for users in sizes.users]
    if sizes.ports:
        found.append(Shape(sizes.ports, ports=sizes.ports))
    if sizes.sessions and is_muxed(variant):
        found.append(Shape(sizes.sessions * USERS_PER_SESSION, sessions=sizes.sessions))
    return found


def fit(wanted: Iterable[Shape], most: int) -> list[Shape]:
    """Return the shapes with at most so many users; those with more become one with as many as possible."""
    return list(dict.fromkeys(Shape(min(shape.users, most), shape.ports, shape.sessions) for shape in wanted))

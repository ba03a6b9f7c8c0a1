"""A kernel that lacks what old ones, WSL 1, sandboxes and sockets of Multipath TCP lack: a filter of system calls.

``python lesser_kernel.py COMMAND`` becomes the command. From then on the kernel refuses the calls below, in this
process and in its children: seccomp(2), classic BPF of <linux/filter.h>.
"""

import ctypes
import errno
import os
import platform
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

Instruction = tuple[int, int, int, int]


class Numbers(NamedTuple):
    """The numbers of system calls."""

    setsockopt: int
    getsockopt: int
    splice: int


MACHINES: Final = {"x86_64": Numbers(54, 55, 275), "aarch64": Numbers(208, 209, 76)}
_IP, _TCP, _UDP, _IPV6, _SOCKET = 0, 6, 17, 41, 1
_OPTIONS: Final = (
    (_SOCKET, 10, "SO_OOBINLINE"),
    (_SOCKET, 51, "SO_ATTACH_REUSEPORT_CBPF"),
    (_TCP, 3, "TCP_CORK"),
    (_TCP, 4, "TCP_KEEPIDLE"),
    (_TCP, 5, "TCP_KEEPINTVL"),
    (_TCP, 6, "TCP_KEEPCNT"),
    (_TCP, 11, "TCP_INFO"),
    (_TCP, 12, "TCP_QUICKACK"),
    (_TCP, 13, "TCP_CONGESTION"),
    (_TCP, 18, "TCP_USER_TIMEOUT"),
    (_TCP, 25, "TCP_NOTSENT_LOWAT"),
    (_UDP, 103, "UDP_SEGMENT"),
    (_UDP, 104, "UDP_GRO"),
    (_IP, 8, "IP_PKTINFO"),
    (_IPV6, 49, "IPV6_RECVPKTINFO"),
)
_NO_NEW_PRIVS, _SECCOMP, _FILTER = 38, 22, 2  # prctl(2)
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000  # <linux/seccomp.h>
_LOAD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_NUMBER, _SECOND, _THIRD = 0, 24, 32  # offsets in struct seccomp_data: the number of the call, its arguments

LESSER: Final = (sys.executable, "-P", __file__)
"""The wrapper of a command. ``-P``: modules beside this one have names of the standard library."""


def available() -> bool:
    """Return whether this machine can have such a kernel."""
    return platform.machine() in MACHINES and Path("/proc/sys/kernel/seccomp").exists()


def _refused(conditions: dict[int, int], error: int) -> list[Instruction]:
    """Return instructions that refuse a call whose fields have these values; otherwise the next ones decide."""
    program: list[Instruction] = []
    for left, (at, value) in zip(range(2 * len(conditions) - 1, 0, -2), conditions.items(), strict=True):
        program += [(_LOAD, 0, 0, at), (_JUMP_IF_EQUAL, 0, left, value)]
    return [*program, (_RETURN, 0, 0, _REFUSE | error)]


def _program(numbers: Numbers) -> Iterator[Instruction]:
    for level, name, _ in _OPTIONS:
        for call in (numbers.setsockopt, numbers.getsockopt):
            yield from _refused({_NUMBER: call, _SECOND: level, _THIRD: name}, errno.ENOPROTOOPT)
    yield from _refused({_NUMBER: numbers.splice}, errno.ENOSYS)
    yield (_RETURN, 0, 0, _ALLOW)


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p))


def main(command: list[str]) -> None:
    """Become a command on a lesser kernel."""
    instructions = [struct.pack("HBBI", *each) for each in _program(MACHINES[platform.machine()])]
    buffer = ctypes.create_string_buffer(b"".join(instructions))
    program = _Program(len(instructions), ctypes.addressof(buffer))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0)
    if libc.prctl(_SECCOMP, _FILTER, ctypes.byref(program), 0, 0):
        raise OSError(ctypes.get_errno(), "the kernel takes no filter")
    os.execvp(command[0], command)  # noqa: S606 - the command is the test's


if __name__ == "__main__":
    main(sys.argv[1:])

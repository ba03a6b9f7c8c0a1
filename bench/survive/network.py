"""Three network namespaces, client - router - server, and the faults of the line between them."""

import contextlib
import os
import socket
import struct
import subprocess
import sys
import time
from typing import Self

from bench.processes import BenchError, find_tool
from bench.scenarios.backends import python_environment

CLIENT, ROUTER, SERVER = "client", "router", "server"

SERVER_ADDRESS = "203.0.113.2"  # RFC 5737, and so on
OUTER_ADDRESS = "203.0.113.1"  # of the router, which replaces the client's
INNER_ADDRESS = "192.0.2.1"
CLIENT_ADDRESSES = ("192.0.2.2", "192.0.2.3")

COMMAND_TIMEOUT = 60  # seconds
RATE = "30mbit"  # of the line, in each direction: bulk fills it, and a fault finds bytes on their way
REJECTION = 0.5  # seconds for which the router answers each segment with a reset

# The router forgets connections when their entries are gone, as home routers do: a segment in the middle of an unknown
# connection is dropped. Linux as such would adopt it.
SYSCTLS = (
    "net.ipv4.ip_forward=1",
    "net.netfilter.nf_conntrack_tcp_loose=0",
    "net.netfilter.nf_conntrack_tcp_be_liberal=1",
)
RULES = """\
table ip bench {
    chain nat { type nat hook postrouting priority srcnat; oifname "outer" masquerade random; }
    chain fault { }
    chain forward { type filter hook forward priority 0; ct state invalid drop; jump fault; }
}
"""

# linux/netfilter/nfnetlink_conntrack.h: delete all entries of the namespace
NETLINK_NETFILTER = 12
DELETE_ENTRIES = 1 << 8 | 2
REQUEST, ACKNOWLEDGE = 1, 4  # NLM_F_REQUEST, NLM_F_ACK


class Network:
    """The namespaces, which are removed at the end, whatever happens. Requires root."""

    def __init__(self) -> None:
        if os.geteuid():
            raise BenchError("network namespaces require root; run it with sudo")
        self._names = {end: f"bench-{end}-{os.getpid()}" for end in (CLIENT, ROUTER, SERVER)}
        self._address = 0  # index of the client's present address
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            for name in self._names.values():
                _run("ip", "netns", "add", name)
                stack.callback(_run, "ip", "netns", "delete", name)
            self._connect()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def inside(self, end: str, argv: list[str]) -> list[str]:
        """Return the command line that runs a program in a namespace, with the process id that it is started with."""
        return [find_tool("ip"), "netns", "exec", self._names[end], *argv]

    def _connect(self) -> None:
        self._link(CLIENT, "inner")
        self._link(SERVER, "outer")
        for end in (CLIENT, SERVER):
            self.run(end, "ip", "link", "set", "lo", "up")
        self._give(CLIENT, "line", CLIENT_ADDRESSES[0])
        self._give(ROUTER, "inner", INNER_ADDRESS)
        self._give(ROUTER, "outer", OUTER_ADDRESS)
        self._give(SERVER, "line", SERVER_ADDRESS)
        self.run(CLIENT, "ip", "route", "add", "default", "via", INNER_ADDRESS)
        self.run(ROUTER, "sysctl", "-qw", *SYSCTLS)
        self.run(ROUTER, "nft", RULES)

    def _link(self, end: str, side: str) -> None:
        _run(
            "ip", "link", "add", "line", "netns", self._names[end], "type", "veth",
            "peer", "name", side, "netns", self._names[ROUTER],
        )  # fmt: skip
        self.run(end, "ip", "link", "set", "line", "up")
        self.run(ROUTER, "ip", "link", "set", side, "up")
        self.run(
            ROUTER, "tc", "qdisc", "add", "dev", side, "root", "tbf", "rate", RATE, "burst", "64k", "latency", "50ms"
        )

    def _give(self, end: str, device: str, address: str) -> None:
        self.run(end, "ip", "address", "add", f"{address}/24", "dev", device)

    def run(self, end: str, *command: str) -> str:
        """Run a command in a namespace, and return its output. Raises BenchError."""
        return _run(*self.inside(end, [find_tool(command[0]), *command[1:]]))

    def listens(self, end: str, port: int) -> bool:
        """Return whether a program listens on a TCP port in a namespace."""
        return bool(self.run(end, "ss", "-Hltn", f"sport = :{port}").strip())

    def reset_at(self, end: str) -> None:
        """Reset all connections of the tunnel, by one end's kernel."""
        self.run(end, "ss", "-K", "dst", SERVER_ADDRESS if end == CLIENT else OUTER_ADDRESS)

    def reject(self) -> None:
        """Answer each segment with a reset for a while, which only its sender gets."""
        self._set_fault("ip protocol tcp reject with tcp reset", REJECTION)

    def silence(self, seconds: float) -> None:
        """Drop everything for a while."""
        self._set_fault("drop", seconds)

    def _set_fault(self, rule: str, seconds: float) -> None:
        self.run(ROUTER, "nft", f"add rule ip bench fault {rule}")
        time.sleep(seconds)
        self.run(ROUTER, "nft", "flush chain ip bench fault")

    def move_client(self) -> None:
        """Take the client's address away, and give it another one."""
        self.run(CLIENT, "ip", "address", "delete", f"{CLIENT_ADDRESSES[self._address]}/24", "dev", "line")
        self._address = 1 - self._address
        self._give(CLIENT, "line", CLIENT_ADDRESSES[self._address])
        self.run(CLIENT, "ip", "route", "replace", "default", "via", INNER_ADDRESS)

    def forget_connections(self) -> None:
        """Make the router forget all connections."""
        self.run(ROUTER, sys.executable, "-m", "bench.survive.network")


def _run(*command: str) -> str:
    argv = [find_tool(command[0]), *command[1:]]
    try:
        done = subprocess.run(
            argv, capture_output=True, text=True, check=False, timeout=COMMAND_TIMEOUT, env=python_environment()
        )
    except subprocess.TimeoutExpired:
        raise BenchError(f"{' '.join(command)}: no answer within {COMMAND_TIMEOUT} s; is the machine busy?") from None
    if done.returncode:
        raise BenchError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


def delete_entries() -> None:
    """Delete all entries of connection tracking in this namespace. Raises OSError."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER) as sock:
        body = bytes(4)  # struct nfgenmsg: any family
        sock.send(struct.pack("=IHHII", 16 + len(body), DELETE_ENTRIES, REQUEST | ACKNOWLEDGE, 1, 0) + body)
        (error,) = struct.unpack_from("=i", sock.recv(4096), 16)
        if error:
            raise OSError(-error, os.strerror(-error))


if __name__ == "__main__":
    delete_entries()

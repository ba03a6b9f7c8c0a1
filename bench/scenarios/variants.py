"""The measured transports and their options."""

from collections.abc import Mapping
from typing import NamedTuple


class Settings(NamedTuple):
    """A transport's name in the configuration file, and further keys of its sections."""

    transport: str
    load: str = "streams"
    both: Mapping[str, object] = {}  # keys of both sections
    server: Mapping[str, object] = {}  # keys of the server's section alone

    @property
    def protocol(self) -> str:
        """The protocol of the users."""
        return "udp" if self.load == "datagrams" else "tcp"


SEALED = {"security": "required", "encryption": True}  # programs that do not know these keys run in clear

VARIANTS = {
    "tcp": Settings("tcp"),
    "tcpmux": Settings("tcpmux"),
    "ws": Settings("ws"),
    "wss": Settings("wss"),
    "wsmux": Settings("wsmux"),
    "wssmux": Settings("wssmux"),
    "tcp sealed": Settings("tcp", both=SEALED),
    "tcpmux sealed": Settings("tcpmux", both=SEALED),
    "ws sealed": Settings("ws", both=SEALED),
    "wsmux sealed": Settings("wsmux", both=SEALED),
    "tcp+sniffer": Settings("tcp", "bulk", {"sniffer": True}),
    "udp": Settings("udp", "datagrams"),
    "udp sealed": Settings("udp", "datagrams", SEALED),
    "tcp+udp": Settings("tcp", "datagrams", server={"accept_udp": True}),
    "tcpmux+udp": Settings("tcpmux", "datagrams", server={"accept_udp": True}),
    "wssmux+udp": Settings("wssmux", "datagrams", server={"accept_udp": True}),
    "tcpmux+udp sealed": Settings("tcpmux", "datagrams", SEALED, {"accept_udp": True}),
    "tcpmux v1": Settings("tcpmux", "stall", {"mux_version": 1}),
    "tcpmux v2": Settings("tcpmux", "stall", {"mux_version": 2}),
    "wsmux v1": Settings("wsmux", "stall", {"mux_version": 1}),
    "wsmux v2": Settings("wsmux", "stall", {"mux_version": 2}),
    "wssmux v1": Settings("wssmux", "stall", {"mux_version": 1}),
    "wssmux v2": Settings("wssmux", "stall", {"mux_version": 2}),
}

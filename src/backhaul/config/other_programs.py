"""Files of other programs, which ``backhaul convert`` reads."""

from collections.abc import Mapping
from typing import Final

PREMIUM: Final = "Backhaul's premium edition"
_OF_PREMIUM: Final = frozenset({"listener", "dialer", "ipx"})
_OF_FRP: Final = frozenset({"serverAddr", "serverPort", "bindPort", "proxies", "common"})


def other_program(document: Mapping[str, object]) -> str:
    """Return the name of the other program whose file this is; an empty text if it is none."""
    ends = (document.get("server"), document.get("client"))
    if any(isinstance(end, dict) and "services" in end for end in ends):
        return "rathole"
    if any(isinstance(end, dict) for end in ends):
        return ""
    if document.keys() & _OF_PREMIUM:
        return PREMIUM
    return "frp" if document.keys() & _OF_FRP else ""

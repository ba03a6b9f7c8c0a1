"""The reasons why control channels end or are refused, as text for administrators."""

from typing import Final

RENEWED: Final = "the client has opened another one"
"""The reason why a control channel has ended: its client has made another one, for example at a reload."""


def taken_over(ip: str) -> str:
    """Return the reason why a control channel has ended: another connection with its token replaced it."""
    return f"a client at {ip} replaced the connected one (another client needs its own token, see clients)"


def occupied(ip: str) -> str:
    """Return the reason why a client is refused: one with its token is connected, and has given a sign of life."""
    return f"a client with the same token is connected from {ip}; give each its own token in [server.clients.NAME]"


def indistinct(other: str) -> str:
    """Return the reason why a client of v0.7.2 is refused: its connections would be taken for those of another."""
    return (
        f"{other} runs v0.7.2 at the same address, so their connections can't be told apart; run this program on both "
        "ends, or use a transport on HTTP"
    )


def unlike(peer: str, theirs: str, own: str) -> str:
    """Return a line about ends with different transports; ``peer`` is the other end, "server" or "client"."""
    this = "client" if peer == "server" else "server"
    return f"the {peer} runs {theirs}, this {this} {own}; set the same transport on both ends"

"""The command ``backhaul close``: resets users in flight."""

from backhaul.api.messages import Choice
from backhaul.api.operations import CLOSE

from .programs import ask_programs, call, complain, names_one
from .tables import number


def run(config: str | None, choice: Choice) -> int:
    """Reset the chosen users of the running programs, or of one of them; return 1 if there were none."""
    if choice.id and not names_one("close", config, "each program has ids of its own"):
        return 1
    found = ask_programs(config, call(CLOSE, choice))
    complain("close", found.problems)
    counts = [document.get("closed") for document in found.documents]
    closed = sum(count for count in counts if isinstance(count, int))
    if found.documents:
        print(f"{number(closed, 'user')} closed")
    return 0 if closed else 1

"""The command ``backhaul close``: resets users in flight."""

import msgspec

from backhaul.state import Selection
from backhaul.system.programs import all_programs

from .programs import TOO_OLD, ask_programs, complain
from .tables import number


def run(config: str | None, selection: Selection) -> int:
    """Reset the chosen users of the running programs, or of one of them; return 1 if there were none."""
    if selection.number and not config and len(programs := all_programs().documents) > 1:
        files = ", ".join(str(document.get("config")) for document in programs)
        complain("close", [f"each program has ids of its own; name one with -c FILE: {files}"])
        return 1
    found = ask_programs(config, f"close {msgspec.json.encode(selection).decode()}")
    earlier = [document["socket"] for document in found.documents if "closed" not in document]
    complain("close", found.problems + [f"{socket}: {TOO_OLD.format('close users')}" for socket in earlier])
    counts = [document.get("closed") for document in found.documents]
    closed = sum(count for count in counts if isinstance(count, int))
    print(f"{number(closed, 'user')} closed")
    return 0 if closed else 1

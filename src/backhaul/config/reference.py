"""Generator of the tables in docs/configuration.md: ``python -m backhaul.config.reference``."""

import sys
from collections.abc import Iterator

from msgspec import Struct

from .keys import ALL, Key, keys
from .limits import Limits
from .messages import show
from .schema import SIDES
from .secret import Secret


def reference() -> str:
    """Return the Markdown sections: keys of both sides, keys of each side, and the effects of a reload."""
    server, client = (keys(schema) for schema in SIDES.values())
    common = [key.name for key in server if key.name in {other.name for other in client}]
    sections = [
        ("Keys of both sides", [key for key in server if key.name in common]),
        ("Keys of `[server]`", [key for key in server if key.name not in common]),
        ("Keys of `[client]`", [key for key in client if key.name not in common]),
        ("Keys of `[server.limits]` and `[server.limits.PORT]`", list(keys(Limits))),
    ]
    rebuilding = dict.fromkeys(f"`{key.name}`" for key in (*server, *client) if key.traits.rebuild)
    tables = "\n".join(line for title, listed in sections for line in _section(title, listed))
    restarting = dict.fromkeys(f"`{key.name}`" for key in (*server, *client) if key.traits.restart)
    return (
        f"{tables}\n"
        f"A reload that changes one of these rebuilds the tunnel (users in flight stay): {', '.join(rebuilding)}. "
        f"A change of one of these requires a restart: {', '.join(restarting)}. All other keys change in place.\n"
    )


def _section(title: str, listed: list[Key]) -> Iterator[str]:
    yield f"### {title}\n"
    yield "| key | value | default | transports | meaning |"
    yield "|---|---|---|---|---|"
    yield from (_row(key) for key in listed)
    yield ""


def _row(key: Key) -> str:
    transports = "all" if key.traits.on == ALL else ", ".join(key.traits.on)
    expected = key.expected().removeprefix("a ").removeprefix("an ")
    return f"| `{key.name}` | {expected} | {_default(key)} | {transports} | {key.meta.description} |"


def _default(key: Key) -> str:
    if key.mandatory:
        return "mandatory"
    if isinstance(key.default, Struct):
        return "none"
    value = key.default.reveal() if isinstance(key.default, Secret) else key.default
    return f"`{show(list(value) if isinstance(value, tuple) else value)}`"


if __name__ == "__main__":
    sys.stdout.write(reference())

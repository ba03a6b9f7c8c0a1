"""The drafts of all files of a tunnel put together: those of one server, and of its clients."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import count

from backhaul.config.messages import few
from backhaul.config.tables import NAME

from .draft import ConvertError, Draft, Gap, Service, Settings


@dataclass(slots=True, kw_only=True)
class Tunnel:
    """A server and its clients; the only client has an empty name."""

    both: Settings = field(default_factory=dict)
    server: Settings = field(default_factory=dict)
    clients: dict[str, Settings] = field(default_factory=dict)
    tokens: dict[str, str] = field(default_factory=dict)
    """The token of each client; without a client, that of the server under an empty name."""
    services: list[Service] = field(default_factory=list)
    users_host: str = ""
    """The host on which services without a host listen; empty: all interfaces."""
    gaps: list[Gap] = field(default_factory=list)


def tunnel(drafts: Sequence[Draft], new_token: Callable[[], str]) -> Tunnel:
    """Join the drafts: the server's file knows its own keys best, those of clients the keys of the tunnel."""
    servers = [draft for draft in drafts if not draft.client]
    clients = [draft for draft in drafts if draft.client]
    if len(servers) > 1:
        raise ConvertError("several files of a server; convert the files of one tunnel at a time")
    whole = Tunnel()
    names = _names(clients)
    for draft in (*clients, *servers):
        whole.both = draft.both | whole.both
        whole.server = whole.server | draft.server
        whole.users_host = whole.users_host or draft.users_host
        whole.gaps += draft.gaps
    whole.clients = {name: draft.client for name, draft in zip(names, clients, strict=True)}
    _add_services(whole, names, clients, servers)
    _choose_tokens(whole, clients, servers, new_token)
    _check_transport(whole, clients)
    return whole


def _names(clients: Sequence[Draft]) -> list[str]:
    """Return a name for each client, an empty one for a single client."""
    if len(clients) < 2:  # noqa: PLR2004 - nothing to tell apart
        return [""] * len(clients)
    names: list[str] = []
    for number, draft in enumerate(clients, 1):
        usable = NAME.fullmatch(draft.name) and draft.name not in names
        numbered = (f"client{one}" for one in count(number))
        names.append(draft.name if usable else next(name for name in numbered if name not in names))
    return names


def _add_services(whole: Tunnel, names: Sequence[str], clients: Sequence[Draft], servers: Sequence[Draft]) -> None:
    """Add the services of all files; half of one may be in a client's file, the other half in that of the server."""
    known = {title: service for draft in servers for title, service in draft.services.items()}
    for name, draft in zip(names, clients, strict=True):
        for title, service in draft.services.items():
            other = known.pop(title, service)
            joined = replace(service, listen=other.listen, clients=(name,) if name else ())
            streams, datagrams = service.streams and other.streams, service.datagrams or other.datagrams
            whole.services.append(replace(joined, streams=streams, datagrams=datagrams))
    whole.services += known.values()


def _choose_tokens(
    whole: Tunnel, clients: Sequence[Draft], servers: Sequence[Draft], new_token: Callable[[], str]
) -> None:
    if len(clients) > 1:
        _choose_several(whole, clients, new_token)
        return
    found = [draft.tokens for draft in (*clients, *servers) if draft.tokens]
    common = [token for token in found[0] if all(token in tokens for tokens in found)] if found else []
    if found and not common:
        raise ConvertError("the files have different tokens; convert the files of one tunnel")
    if common:
        whole.both.pop("token_file", None)
    elif "token_file" in whole.both:
        return
    else:
        whole.gaps.append(Gap("token", "none was found, so a new one was made", "both ends need the same"))
    whole.tokens[""] = common[0] if common else new_token()


def _choose_several(whole: Tunnel, clients: Sequence[Draft], new_token: Callable[[], str]) -> None:
    """Give each client a token of its own, by which the server knows it."""
    whole.both.pop("token_file", None)
    tokens = [draft.tokens[0] if draft.tokens else "" for draft in clients]
    if "" in tokens or len(set(tokens)) < len(tokens):
        tokens = [new_token() for _ in clients]
        whole.gaps.append(Gap("token", "the token tells which client connects, so each has a new one"))
    whole.tokens = dict(zip(whole.clients, tokens, strict=True))


def _check_transport(whole: Tunnel, clients: Sequence[Draft]) -> None:
    transports = list(dict.fromkeys(str(draft.both["transport"]) for draft in clients))
    if len(transports) > 1:
        reason = f"clients run {few(transports)}, and a server has one transport, so all have {transports[0]}"
        whole.gaps.append(Gap("transport", reason))

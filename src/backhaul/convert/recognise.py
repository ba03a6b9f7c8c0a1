"""The recognition of files of other programs by their content."""

import tomllib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from backhaul.config.other_programs import PREMIUM, other_program
from backhaul.config.toml_mistakes import toml_mistake

from . import frp, frp_ini, premium, rathole, ssh
from .draft import ConvertError, Draft
from .render import Files, files
from .table import Table
from .tunnel import tunnel

_OF_A_CLIENT: Final = frozenset({"serverAddr", "serverPort", "proxies", "visitors", "start", "includes"})
_OF_A_SERVER: Final = frozenset(
    {"bindAddr", "bindPort", "proxyBindAddr", "vhostHTTPPort", "vhostHTTPSPort", "allowPorts"}
)

_PREMIUM_ENDS: Final = {"listener": premium.server, "dialer": premium.client}


@dataclass(frozen=True, slots=True)
class Source:
    """A file with its name, or a command line of ssh."""

    text: str
    name: str = ""


def convert(sources: Iterable[Source], new_token: Callable[[], str]) -> Files:
    """Return the files of both ends, as far as the sources describe them.

    ``new_token`` makes one where the sources have none. Raises ConvertError.
    """
    return files(tunnel([draft for source in sources for draft in _drafts(source)], new_token))


def _drafts(source: Source) -> list[Draft]:
    if not source.name:
        return [ssh.read(source.text)]
    document = _document(source)
    ends = {name: end for name in ("client", "server") if isinstance(end := document.get(name), dict)}
    if ends:
        return [_named(_of_rathole(name, end, source.name), source) for name, end in ends.items()]
    table = Table(document, source.name)
    if document.keys() & _OF_A_CLIENT:
        return [_named(frp.client(table), source)]
    if document.keys() & _OF_A_SERVER or "frps" in source.name:
        return [frp.server(table)]
    if other_program(document) == PREMIUM:
        return [_named(_of_premium(document, table, source.name), source)]
    raise ConvertError(f"{source.name}: no file of frp, rathole or {PREMIUM}; name one of those, such as frpc.toml")


def _named(draft: Draft, source: Source) -> Draft:
    """Name a draft after its file if it has no name yet."""
    draft.name = draft.name or source.name.rpartition("/")[2].partition(".")[0]
    return draft


def _document(source: Source) -> dict[str, object]:
    if "{{" in source.text:
        raise ConvertError(f"{source.name}: holds a template; put the values in the place of {{{{ … }}}}")
    try:
        document = tomllib.loads(source.text)
    except (ValueError, RecursionError) as error:
        if any(line.strip() == "[common]" for line in source.text.splitlines()):
            return frp_ini.read(source.text, source.name)
        raise ConvertError(f"{source.name}: {toml_mistake(source.text, error)}") from None
    # INI with nothing but numbers and quoted texts is TOML as well.
    return frp_ini.read(source.text, source.name) if isinstance(document.get("common"), dict) else document


def _of_premium(document: dict[str, object], table: Table, file: str) -> Draft:
    converters = [_PREMIUM_ENDS[name] for name in _PREMIUM_ENDS if name in document]
    if len(converters) != 1:
        raise ConvertError(f"{file}: expected [listener] or [dialer]; packets of [ipx] have no counterpart")
    return converters[0](table)


def _of_rathole(name: str, end: dict[str, object], file: str) -> Draft:
    if isinstance(end.get("transport"), str):
        raise ConvertError(f"{file}: this is a file of Backhaul; run it with `backhaul -c {file}`")
    table = Table(end, file, f"{name}.")
    return rathole.client(table) if name == "client" else rathole.server(table)

"""The commands ``backhaul server invite`` and ``backhaul join``: one line takes a server's settings to its client."""

import sys
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from backhaul.config import Address, ConfigError, ServerConfig, load
from backhaul.config.address import is_ip, parse_edge, parse_remote
from backhaul.config.advice import weakness
from backhaul.config.invitation import Invitation, invitation, read_line
from backhaul.config.loader import parse
from backhaul.config.messages import few
from backhaul.config.schema import Config
from backhaul.system.files import make_folder, put
from backhaul.system.template_unit import instance_of

_HEADER: Final = "# Written by `backhaul join`. Every key: docs/configuration.md\n"

_WRITTEN: Final = """\
{file} is written: a client of {address}, transport {transport}
{next}"""

_NEXT: Final = """\
  backhaul -c {file}
  backhaul service install -c {file}
run it, or as root install it as a service"""

_NEXT_OF_PACKAGE: Final = """\
  systemctl enable --now {unit}
runs it, now and at each start of this machine"""


def invite(file: str, address: str, client: str) -> int:
    """Print the line for a client of the server that ``file`` describes; return the exit code.

    ``address`` is the one to dial, HOST or HOST:PORT, or empty for ``bind_addr``; ``client`` is a name, or empty for
    the client without one.
    """
    try:
        config = load(file)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    if problem := next(_objections(config, address, client), ""):
        return _fail("server invite", f"{file}: {problem}")
    try:
        print(_invitation(config, address, client).line())
    except ValueError as error:
        return _fail("server invite", f"--address: {error}")
    return 0


def join(line: str, file: Path, *, force: bool) -> int:
    """Write the client's file from a server's line; return the exit code."""
    try:
        invited = read_line(line)
        parse(invited.text())
        _write(file, invited, force=force)
    except ConfigError as error:
        return _fail("join", f"the line does not fit this version: {error.problems[0]}")
    except ValueError as error:
        return _fail("join", error)
    except FileExistsError:
        return _fail("join", f"{file} exists; replace it with --force, or name another with -o")
    except OSError as error:
        return _fail("join", f"cannot write {file}: {error.strerror}")
    print(_WRITTEN.format(file=file, address=invited.address, transport=invited.transport, next=_next(file)))
    return 0


def _objections(config: Config, address: str, client: str) -> Iterator[str]:
    """Yield the reasons why no client can join, each with its remedy."""
    if not isinstance(config, ServerConfig):
        yield "this is a client's file; name that of the server"
        return
    served = {one.name: one for one in config.served}
    if client not in served:
        names = few([name for name in served if name])
        yield f"no client {client}; its clients are {names or 'without names'}" if client else f"add --client: {names}"
        return
    token = served[client].accepted[0]
    yield from (f"server.{served[client].table}{problem}" for problem in weakness(token, config.security))
    if config.security == "legacy":
        yield 'server.security: a client that joins has "required"; set the same here, or "auto"'
    bind = config.bind_addr
    if bind.is_path:
        yield f"server.bind_addr: clients dial the proxy in front of {bind}, which may differ; write their file by hand"
    elif not address and _is_local(bind.host):
        yield f"server.bind_addr: no other machine can dial {bind}; add --address HOST, or HOST:PORT"


def _invitation(config: Config, address: str, client: str) -> Invitation:
    assert isinstance(config, ServerConfig)  # noqa: S101 - without an objection
    token = next(one.accepted[0] for one in config.served if one.name == client)
    return invitation(config, token, _dialled(address, config.bind_addr.port) if address else config.bind_addr)


def _dialled(text: str, port: int) -> Address:
    """Read HOST or HOST:PORT, with ``port`` for the former; raise ValueError with the mistake."""
    if text.startswith(":"):
        raise ValueError("the host is missing")
    if ":" not in text or is_ip(text) or text.endswith("]"):
        return Address(parse_edge(text), port)
    return parse_remote(text)


def _is_local(host: str) -> bool:
    """Return whether no other machine can dial a host."""
    if not is_ip(host):
        return host in {"", "localhost"}
    return ip_address(host).is_unspecified or ip_address(host).is_loopback


def _write(file: Path, invited: Invitation, *, force: bool) -> None:
    make_folder(file.parent)
    put(file, (_HEADER + invited.text()).encode(), 0o600, force=force)


def _next(file: Path) -> str:
    unit = instance_of(file)
    return _NEXT_OF_PACKAGE.format(unit=unit) if unit else _NEXT.format(file=file)


def _fail(command: str, problem: object) -> int:
    print(f"backhaul {command}: {problem}", file=sys.stderr)
    return 2

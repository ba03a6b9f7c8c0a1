"""The command line: the commands of ``backhaul`` and their options."""

import argparse
import math
from pathlib import Path
from typing import Final, Protocol

from backhaul import __version__

from . import argument_types as types

_SORTS = (
    *("id", "age", "user", "port", "target", "received", "sent"),
    *("rate-received", "rate-sent", "state", "client", "carrier"),
)
INSTALLED: Final = "/etc/backhaul/config.toml"
"""The configuration of an installed service."""
_DRAINED = "only the users of this client, which has its own table on the server"
_ONE = "the server or client that runs FILE; default: the one on this machine"


class Commands(Protocol):
    """The commands of a parser, for which argparse has no public type."""

    def add_parser(self, name: str, *, help: str) -> argparse.ArgumentParser:  # noqa: A002 - argparse's name
        """Add a command."""


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(prog="backhaul", description="Reverse tunnel through NAT and firewalls.")
    parser.add_argument("-v", "--version", action="version", version=f"backhaul v{__version__}")
    parser.add_argument(
        "-c",
        "--config",
        metavar="FILE",
        action="append",
        help="run the server or client that FILE describes; repeatable, and a directory stands for its *.toml",
    )
    commands = parser.add_subparsers(dest="command", metavar="command")
    for add in (_add_looks, _add_users, _add_changes, _add_setup):
        add(commands)
    return parser


def _add_looks(commands: Commands) -> None:
    """Add the commands that change nothing."""
    _add_check(commands.add_parser("check", help="validate configuration files and show what would run"))
    _add_status(commands.add_parser("status", help="show what runs on this machine"))
    _add_doctor(commands.add_parser("doctor", help="find faults of a server or client, and their remedies"))


def _add_users(commands: Commands) -> None:
    """Add the commands about users in flight."""
    _add_connections(commands.add_parser("connections", help="show the users in flight"))
    _add_close(commands.add_parser("close", help="reset users in flight"))


def _add_changes(commands: Commands) -> None:
    """Add the commands that change what a running program does."""
    _add_drain(commands.add_parser("drain", help="refuse new users and let present ones finish"))
    _add_resume(commands.add_parser("resume", help="admit new users again after `backhaul drain`"))
    reopen = commands.add_parser("reopen", help="reopen the access log, after its file has been renamed")
    _add_config(reopen, "only that of the server that runs FILE")
    _add_config(commands.add_parser("reload", help="read the configuration file again, and show the outcome"), _ONE)


def _add_setup(commands: Commands) -> None:
    """Add the commands that set something up."""
    _add_service(commands.add_parser("service", help="run the program as a systemd service"))
    _add_cert(commands.add_parser("cert", help="make a key and a certificate for wss and wssmux"))
    commands.add_parser("token", help="make a token, the secret that both ends share")
    _add_server(commands.add_parser("server", help="print what its clients need"))
    _add_join(commands.add_parser("join", help="write the client's file from the line of `backhaul server invite`"))
    convert = "write server.toml and client.toml from the configuration of frp, rathole, Backhaul Premium or `ssh -R`"
    _add_convert(commands.add_parser("convert", help=convert))
    demo = commands.add_parser("demo", help="start a server, a client and a small service on this machine")
    demo.add_argument("--once", action="store_true", help="end after the first transfers")
    completion = commands.add_parser("completion", help="print the completion script for a shell")
    completion.add_argument("shell", metavar="SHELL", choices=("bash", "zsh", "fish"), help="one of %(choices)s")


def _add_check(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", metavar="FILE", nargs="*", default=[], help="a configuration, or a directory of them")
    _add_config(parser, "the same as FILE alone; repeatable", action="append")
    parser.add_argument("--strict", action="store_true", help="exit with 2 when there are warnings")


def _add_status(parser: argparse.ArgumentParser) -> None:
    _add_config(parser, "only the server or client that runs FILE")
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")


def _add_doctor(parser: argparse.ArgumentParser) -> None:
    _add_config(parser, "the server or client that FILE describes; default: the one on this machine")
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")
    parser.add_argument(
        "--nat", action="store_true", help="measure for two minutes how long a NAT remembers connections"
    )
    parser.add_argument(
        "--throughput",
        action="append",
        default=[],
        type=types.spare,
        metavar="PORT[=TARGET]",
        help="measure throughput through a spare port of the server, on whose target nothing listens; repeatable",
    )
    parser.add_argument(
        "--save",
        type=types.new_file,
        metavar="FILE",
        help="also write an archive for support (.tar.gz): report, configuration without secrets, state, log, versions",
    )


def _add_connections(parser: argparse.ArgumentParser) -> None:
    _add_config(parser, "only those of the server or client that runs FILE")
    _add_selection(parser)
    parser.add_argument(
        "--sort",
        choices=_SORTS,
        default="age",
        metavar="COLUMN",
        help="order of the rows: %(choices)s; default: %(default)s",
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON, for programs")
    form.add_argument("--watch", action="store_true", help="refresh every second, with rates, until q or Ctrl-C")


def _add_close(parser: argparse.ArgumentParser) -> None:
    _add_config(parser, "only those of the server or client that runs FILE")
    parser.add_argument(
        "id", nargs="?", type=types.number, default=0, help="a user, as `backhaul connections` shows it"
    )
    _add_selection(parser)


def _add_drain(parser: argparse.ArgumentParser) -> None:
    _add_resume(parser)
    parser.add_argument(
        "--wait",
        nargs="?",
        type=types.seconds,
        const=math.inf,
        default=0.0,
        metavar="SECONDS",
        help="return when all users have left, or after this time; default: no limit",
    )


def _add_resume(parser: argparse.ArgumentParser) -> None:
    _add_config(parser, _ONE)
    parser.add_argument("client", nargs="?", metavar="NAME", default="", help=_DRAINED)


def _add_config(parser: argparse.ArgumentParser, meaning: str, action: str = "store") -> None:
    # A default would replace the value of a -c before the command.
    parser.add_argument("-c", "--config", metavar="FILE", help=meaning, action=action, default=argparse.SUPPRESS)


def _add_selection(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--user", metavar="ADDR", type=types.user, help="only users of this address, or HOST:PORT")
    parser.add_argument(
        "--port",
        metavar="N[/tcp|/udp]",
        type=types.spot,
        default=types.Spot(),
        help="only users of this port of the server, and of one protocol",
    )
    parser.add_argument("--client", metavar="NAME", default="", help="only users of this client")


def _add_service(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="action", required=True)
    install = actions.add_parser("install", help="write the unit, enable and start it")
    _add_config(install, f"configuration of the service, or a directory of several; default: {INSTALLED}")
    install.add_argument(
        "--user",
        default="backhaul",
        type=types.unit,
        help="user that runs the service, added if missing; default: %(default)s",
    )
    install.add_argument("--print", action="store_true", help="only print the unit")
    uninstall = actions.add_parser("uninstall", help="stop the service and remove its unit")
    status = actions.add_parser("status", help="show the state of the service in systemd")
    for action in (install, uninstall, status):
        action.add_argument(
            "--name", default="backhaul", type=types.unit, help="name of the service; default: %(default)s"
        )


def _add_cert(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--name",
        action="append",
        default=[],
        type=types.host,
        help="host name or address that clients dial; repeatable",
    )
    # Apple's systems accept server certificates for at most 825 days, and one of these is in the past.
    parser.add_argument(
        "--days", default=824, type=types.days, help="days for which the certificate is valid; default: %(default)s"
    )
    parser.add_argument(
        "--out", default=".", metavar="DIR", help="directory for server.crt and server.key; default: here"
    )
    parser.add_argument("--force", action="store_true", help="replace existing files")


def _add_server(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="action", required=True)
    invite = actions.add_parser("invite", help="print the line with which a client joins this server; keep it secret")
    _add_invite(invite)


def _add_invite(parser: argparse.ArgumentParser) -> None:
    _add_config(parser, f"configuration of the server; default: {INSTALLED}")
    parser.add_argument(
        "--address", metavar="HOST[:PORT]", default="", help="where clients dial the server; default: bind_addr"
    )
    parser.add_argument("--client", metavar="NAME", default="", help="a client with its own table")


def _add_join(parser: argparse.ArgumentParser) -> None:
    # A terminal may break the line, and an error of argparse would show the rest of it.
    parser.add_argument("line", nargs="+", metavar="LINE", help="the line, or - to read it from standard input")
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        default="client.toml",
        type=Path,
        help="the file to write; default: %(default)s",
    )
    parser.add_argument("--force", action="store_true", help="replace an existing file")


def _add_convert(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "file",
        nargs="+",
        metavar="FILE",
        help="file of frp, rathole or Backhaul Premium, or ssh and its arguments in quotes",
    )
    parser.add_argument(
        "--to", default=".", type=Path, metavar="DIR", help="directory for server.toml and client.toml; default: here"
    )

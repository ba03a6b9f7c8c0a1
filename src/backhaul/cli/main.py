"""The program ``backhaul``: reads the arguments and runs the command."""

import argparse
import math
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from backhaul import __version__

from . import argument_types as types

_SORTS = (
    *("id", "age", "user", "port", "target", "received", "sent"),
    *("rate-received", "rate-sent", "state", "client", "carrier"),
)
_MAX_LINE = 1 << 20  # bytes; more than any token needs
_INSTALLED = "/etc/backhaul/config.toml"
_DRAINED = "only the users of this client, which has a table of its own on the server"
_ONE = "the server or client that runs FILE; default: the one that runs on this machine"
_STANDARD_ERROR = 2
EXIT_OK, EXIT_FAILED, EXIT_USAGE = 0, 1, 2


def run(argv: Sequence[str] | None = None) -> None:
    """Run the command line and exit with 0 for success, 2 for a bad configuration or usage, 1 for other errors."""
    _fill_standard_descriptors()
    try:
        code = _dispatch(sys.argv[1:] if argv is None else argv)
        if sys.stdout:
            sys.stdout.flush()
    except BrokenPipeError:  # as in `backhaul status | head`
        sys.stdout = None  # keeps Python from flushing it at exit
        code = EXIT_FAILED
    except KeyboardInterrupt:
        code = EXIT_FAILED
    raise SystemExit(code)


def _fill_standard_descriptors() -> None:
    """Open closed standard descriptors on /dev/null: a socket would get the number, and libuv aborts on that."""
    for descriptor in range(_STANDARD_ERROR + 1):
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # gets the lowest free number


def _dispatch(argv: Sequence[str]) -> int:
    arguments = parser()
    options = _parse(arguments, argv)
    if options.command:
        # A -c before the command gives a list. Only `check` takes several files.
        if isinstance(options.config, list) and options.command != "check":
            options.config = options.config[-1]
        return _COMMANDS[options.command](options)
    if options.config:
        return _serve(options.config)
    arguments.print_usage(sys.stderr)
    print("backhaul: name a configuration file: backhaul -c FILE", file=sys.stderr)
    return EXIT_USAGE


def _parse(arguments: argparse.ArgumentParser, argv: Sequence[str]) -> argparse.Namespace:
    """Read the command line; argparse itself takes the files of `check` in one piece only, not around an option."""
    options, rest = arguments.parse_known_args(argv)
    if options.command == "check" and not any(word.startswith("-") for word in rest):
        options.files = [*options.files, *rest]
    elif rest:
        arguments.error(f"unrecognized arguments: {' '.join(rest)}")
    return options


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
    check = commands.add_parser("check", help="validate configuration files and show what would run")
    check.add_argument("files", metavar="FILE", nargs="*", default=[], help="a configuration, or a directory of them")
    _add_config(check, "the same as FILE alone; repeatable", action="append")
    check.add_argument("--strict", action="store_true", help="exit with 2 when there are warnings")
    status = commands.add_parser("status", help="show what runs on this machine")
    _add_config(status, "only the server or client that runs FILE")
    status.add_argument("--json", action="store_true", help="for programs")
    doctor = commands.add_parser("doctor", help="find faults of a server or client, and their remedies")
    _add_config(doctor, "the server or client that FILE describes; default: the one that runs on this machine")
    doctor.add_argument("--json", action="store_true", help="for programs")
    doctor.add_argument("--nat", action="store_true", help="measure for two minutes when a NAT forgets connections")
    doctor.add_argument(
        "--throughput",
        action="append",
        default=[],
        type=types.spare,
        metavar="PORT[=TARGET]",
        help="measure throughput through a spare port of the server, on whose target nothing listens; repeatable",
    )
    shown = commands.add_parser("connections", help="show the users in flight")
    _add_config(shown, "only those of the server or client that runs FILE")
    _add_selection(shown)
    shown.add_argument(
        "--sort",
        choices=_SORTS,
        default="age",
        metavar="COLUMN",
        help="order of the rows: %(choices)s; default: %(default)s",
    )
    form = shown.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="for programs")
    form.add_argument("--watch", action="store_true", help="refresh every second, with rates, until q or Ctrl-C")
    close = commands.add_parser("close", help="reset users in flight")
    _add_config(close, "only those of the server or client that runs FILE")
    close.add_argument("id", nargs="?", type=types.number, default=0, help="a user, as `backhaul connections` shows it")
    _add_selection(close)
    drain = commands.add_parser("drain", help="refuse new users, and let those who are present finish")
    _add_config(drain, _ONE)
    drain.add_argument("client", nargs="?", metavar="NAME", default="", help=_DRAINED)
    drain.add_argument(
        "--wait",
        nargs="?",
        type=types.seconds,
        const=math.inf,
        default=0.0,
        metavar="SECONDS",
        help="return when all users have left, or after this time; default: no limit",
    )
    resume = commands.add_parser("resume", help="admit new users again after `backhaul drain`")
    _add_config(resume, _ONE)
    resume.add_argument("client", nargs="?", metavar="NAME", default="", help=_DRAINED)
    _add_config(commands.add_parser("reload", help="read the configuration file again, and show the outcome"), _ONE)
    _add_service(commands.add_parser("service", help="run the program as a systemd service"))
    _add_cert(commands.add_parser("cert", help="make a key and a certificate for wss and wssmux"))
    commands.add_parser("token", help="make a token, the secret that both ends share")
    _add_server(commands.add_parser("server", help="print what its clients need"))
    _add_join(commands.add_parser("join", help="write the client's file from the line of `backhaul server invite`"))
    _add_convert(
        commands.add_parser("convert", help="turn the configuration of frp, rathole or `ssh -R` into both files")
    )
    demo = commands.add_parser("demo", help="start a server, a client and a small service on this machine")
    demo.add_argument("--once", action="store_true", help="end after the first transfers")
    completion = commands.add_parser("completion", help="print the completion script for a shell")
    completion.add_argument("shell", metavar="SHELL", choices=("bash", "zsh", "fish"), help="one of %(choices)s")
    return parser


def _add_config(parser: argparse.ArgumentParser, meaning: str, action: str = "store") -> None:
    # A default would replace the value of a -c before the command.
    parser.add_argument("-c", "--config", metavar="FILE", help=meaning, action=action, default=argparse.SUPPRESS)


def _add_selection(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--user", metavar="ADDR", type=types.user, help="only users of this address, or HOST:PORT")
    parser.add_argument("--port", metavar="N", type=types.port, default=0, help="only users of this port of the server")
    parser.add_argument("--client", metavar="NAME", default="", help="only users of this client")


def _add_service(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="action", required=True)
    install = actions.add_parser("install", help="write the unit, enable and start it")
    _add_config(install, f"configuration of the service, or a directory of several; default: {_INSTALLED}")
    install.add_argument(
        "--user", default="backhaul", type=types.unit, help="user that runs it, added if missing; default: %(default)s"
    )
    install.add_argument("--print", action="store_true", help="print the unit and do nothing else")
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
    parser.add_argument("--days", default=824, type=types.days, help="days for which it is valid; default: %(default)s")
    parser.add_argument(
        "--out", default=".", metavar="DIR", help="directory for server.crt and server.key; default: here"
    )
    parser.add_argument("--force", action="store_true", help="replace existing files")


def _add_server(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="action", required=True)
    invite = actions.add_parser("invite", help="print the line with which a client joins this server; keep it secret")
    _add_invite(invite)


def _add_invite(parser: argparse.ArgumentParser) -> None:
    _add_config(parser, f"configuration of the server; default: {_INSTALLED}")
    parser.add_argument(
        "--address", metavar="HOST[:PORT]", default="", help="where clients dial the server; default: bind_addr"
    )
    parser.add_argument("--client", metavar="NAME", default="", help="a client with a table of its own")


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
        "file", nargs="+", metavar="FILE", help="file of frp or rathole, or an ssh command line in quotes"
    )
    parser.add_argument(
        "--to", default=".", type=Path, metavar="DIR", help="directory for server.toml and client.toml; default: here"
    )


def _serve(arguments: Sequence[str]) -> int:
    from backhaul.config import ConfigError  # noqa: PLC0415 - `--version` needs none of it

    # SIGHUP is ignored until it means a reload. The others mean "reopen log files" to many programs.
    for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    try:
        if len(arguments) > 1 or Path(arguments[0]).is_dir():
            from .several import serve_several  # noqa: PLC0415 - few users have several files

            return serve_several(arguments)
        from .serve import serve_one  # noqa: PLC0415

        return serve_one(arguments[0])
    except ConfigError as error:
        return _complain(error)


def _check(options: argparse.Namespace) -> int:
    from .check import check  # noqa: PLC0415

    files = [*(options.config or ()), *options.files]
    if not files:
        print("backhaul check: name a configuration file: backhaul check FILE", file=sys.stderr)
        return EXIT_USAGE
    return check(files, strict=options.strict)


def _demo(options: argparse.Namespace) -> int:
    from .demo import run as run_demo  # noqa: PLC0415 - only this command needs its web service

    return run_demo(once=options.once)


def _status(options: argparse.Namespace) -> int:
    from .status import run as run_status  # noqa: PLC0415

    return run_status(options.config, as_json=options.json)


def _doctor(options: argparse.Namespace) -> int:
    from backhaul.errors import BackhaulError  # noqa: PLC0415

    from .doctor import run as run_doctor  # noqa: PLC0415

    try:
        return run_doctor(options.config, as_json=options.json, measure_nat=options.nat, spares=options.throughput)
    except BackhaulError as error:
        return _complain(error)


def _connections(options: argparse.Namespace) -> int:
    from backhaul.api.messages import ConnectionsQuery  # noqa: PLC0415

    from .connections import Wish, run_once, run_watch  # noqa: PLC0415

    query = ConnectionsQuery(user=options.user or "", port=options.port, client=options.client)
    wish = Wish(options.config, query, options.sort)
    return run_watch(wish) if options.watch else run_once(wish, as_json=options.json)


def _close(options: argparse.Namespace) -> int:
    from backhaul.api.messages import Choice  # noqa: PLC0415

    from .close import run as run_close  # noqa: PLC0415

    choice = Choice(id=options.id, user=options.user or "", port=options.port, client=options.client)
    if choice == Choice():
        print("backhaul close: name an id, --user, --port or --client", file=sys.stderr)
        return EXIT_USAGE
    return run_close(options.config, choice)


def _drain(options: argparse.Namespace) -> int:
    from .control import drain  # noqa: PLC0415

    return drain(options.config, options.client, options.wait)


def _resume(options: argparse.Namespace) -> int:
    from .control import resume  # noqa: PLC0415

    return resume(options.config, options.client)


def _reload(options: argparse.Namespace) -> int:
    from .control import reload  # noqa: PLC0415

    return reload(options.config)


def _service(options: argparse.Namespace) -> int:
    from backhaul.system.systemd import Systemd  # noqa: PLC0415

    from . import service  # noqa: PLC0415

    if options.action == "install":
        file = options.config or _INSTALLED
        return service.install(file, name=options.name, user=options.user, dry=options.print, manager=Systemd())
    action = service.uninstall if options.action == "uninstall" else service.status
    return action(name=options.name, manager=Systemd())


def _cert(options: argparse.Namespace) -> int:
    from .cert import run as run_cert  # noqa: PLC0415 - its library is heavy

    return run_cert(options.name, days=options.days, folder=Path(options.out), force=options.force)


def _token(_options: argparse.Namespace) -> int:
    from backhaul.system.token import make_token  # noqa: PLC0415

    print(make_token())
    return EXIT_OK


def _invite(options: argparse.Namespace) -> int:
    from .invite import invite  # noqa: PLC0415

    return invite(options.config or _INSTALLED, options.address, options.client)


def _join(options: argparse.Namespace) -> int:
    from .invite import join  # noqa: PLC0415

    line = (
        sys.stdin.buffer.readline(_MAX_LINE).decode(errors="replace")
        if options.line == ["-"]
        else "".join(options.line)
    )
    return join(line, options.output, force=options.force)


def _convert(options: argparse.Namespace) -> int:
    from .convert import run as run_convert  # noqa: PLC0415

    return run_convert(options.file, options.to)


def _completion(options: argparse.Namespace) -> int:
    from .completion import run as run_completion  # noqa: PLC0415

    return run_completion(options.shell, parser())


def _complain(error: Exception) -> int:
    print(error, file=sys.stderr)
    return EXIT_USAGE


_COMMANDS = {
    "check": _check,
    "status": _status,
    "doctor": _doctor,
    "connections": _connections,
    "close": _close,
    "drain": _drain,
    "resume": _resume,
    "reload": _reload,
    "service": _service,
    "cert": _cert,
    "token": _token,
    "server": _invite,
    "join": _join,
    "convert": _convert,
    "demo": _demo,
    "completion": _completion,
}

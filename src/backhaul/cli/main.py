"""The program ``backhaul``: reads the arguments and runs the command."""

import argparse
import contextlib
import errno
import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from backhaul.errors import MEMORY_ADVICE, out_of_memory
from backhaul.paths import is_folder, is_missing

from .arguments import INSTALLED, parser

_MAX_LINE = 1 << 20  # bytes; more than any token needs
_STANDARD_ERROR = 2
_CONFIG = "--config"
# Errors of a standard stream: all files are written by commands that name them.
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})
EXIT_OK, EXIT_FAILED, EXIT_USAGE = 0, 1, 2


def run(argv: Sequence[str] | None = None) -> None:
    """Run the command line and exit with 0 for success, 2 for a bad configuration or usage, 1 for other errors."""
    _fill_standard_descriptors()
    raise SystemExit(_run(sys.argv[1:] if argv is None else argv))


def _run(argv: Sequence[str]) -> object:
    try:
        code = _code(argv)
        if sys.stdout:
            sys.stdout.flush()
    except BrokenPipeError:  # as in `backhaul status | head`
        _leave_output()
    except KeyboardInterrupt:
        pass
    except Exception as error:
        if not _is_explained(error):
            raise
    else:
        return code
    return EXIT_FAILED


def _code(argv: Sequence[str]) -> object:
    try:
        return _dispatch(argv)
    except SystemExit as end:  # argparse has printed something
        return end.code


def _is_explained(error: Exception) -> bool:
    """Print the remedy for an error of the machine; return False for a defect of the program."""
    if out_of_memory(error):
        _print_error(f"backhaul: out of memory or threads: {MEMORY_ADVICE}")
    elif isinstance(error, OSError) and error.errno in _NO_ROOM:
        _leave_output()
        _print_error(f"backhaul: can't write the output: {error.strerror}; make room, or write it elsewhere")
    else:
        return False
    return True


def _leave_output() -> None:
    sys.stdout = None  # keeps Python from flushing it at exit


def _fill_standard_descriptors() -> None:
    """Open closed standard descriptors on /dev/null: a socket would get the number, and libuv aborts on that."""
    for descriptor in range(_STANDARD_ERROR + 1):
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # gets the lowest free number
    if sys.stdin is None:  # it was closed when Python started
        sys.stdin = open(0, closefd=False)  # noqa: SIM115 - as long as the program


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
    word = _first_word(argv)
    if word and word not in _COMMANDS:
        from .mistakes import no_command  # noqa: PLC0415 - few command lines have a mistake

        arguments.error(no_command(word, _COMMANDS))
    options, rest = arguments.parse_known_args(argv)
    if options.command == "check" and not any(word.startswith("-") for word in rest):
        options.files = [*options.files, *rest]
    elif rest:
        from .mistakes import refuse_rest  # noqa: PLC0415

        refuse_rest(arguments, options, rest)
    return options


def _first_word(argv: Sequence[str]) -> str:
    """Return the first word that is neither an option of the program nor the value of one; empty without any."""
    words = iter(argv)
    for word in words:
        if word == "-c" or (word.startswith("--c") and _CONFIG.startswith(word)):
            next(words, "")
        elif not word.startswith("-"):
            return word
    return ""


def _serve(arguments: Sequence[str]) -> int:
    from backhaul.config import ConfigError  # noqa: PLC0415 - `--version` needs none of it

    # SIGHUP is ignored until it means a reload. The others mean "reopen log files" to many programs.
    for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    try:
        if len(arguments) > 1 or is_folder(arguments[0]):
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

    from .doctor import Wishes  # noqa: PLC0415
    from .doctor import run as run_doctor  # noqa: PLC0415

    try:
        return run_doctor(options.config, Wishes(options.json, options.nat, options.throughput, options.save))
    except BackhaulError as error:
        return _complain(error)


def _connections(options: argparse.Namespace) -> int:
    from backhaul.api.messages import ConnectionsQuery  # noqa: PLC0415

    from .connections import Wish, run_once, run_watch  # noqa: PLC0415

    query = ConnectionsQuery(user=options.user or "", client=options.client, **options.port._asdict())
    wish = Wish(options.config, query, options.sort)
    return run_watch(wish) if options.watch else run_once(wish, as_json=options.json)


def _close(options: argparse.Namespace) -> int:
    from backhaul.api.messages import Choice  # noqa: PLC0415

    from .close import run as run_close  # noqa: PLC0415

    choice = Choice(id=options.id, user=options.user or "", client=options.client, **options.port._asdict())
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


def _reopen(options: argparse.Namespace) -> int:
    from .control import reopen  # noqa: PLC0415

    return reopen(options.config)


def _service(options: argparse.Namespace) -> int:
    from backhaul.system.systemd import Systemd  # noqa: PLC0415

    from . import service  # noqa: PLC0415

    if options.action == "install":
        file = _file_or_installed(options)
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

    return invite(_file_or_installed(options), options.address, options.client)


def _file_or_installed(options: argparse.Namespace) -> str:
    """Return the file that is named, or that of an installed service; end the program if neither is there."""
    if not options.config and is_missing(INSTALLED):
        _print_error(f"{INSTALLED}: no such file; name another with -c FILE")
        raise SystemExit(EXIT_USAGE)
    return options.config or INSTALLED


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
    _print_error(str(error))
    return EXIT_USAGE


def _print_error(text: str) -> None:
    from backhaul.system.journal import is_journal, with_priority  # noqa: PLC0415 - `--version` needs none of it

    with contextlib.suppress(OSError):  # a full disk, for instance
        print(with_priority(text, logging.ERROR) if is_journal(_STANDARD_ERROR) else text, file=sys.stderr)


_COMMANDS = {
    "check": _check,
    "status": _status,
    "doctor": _doctor,
    "connections": _connections,
    "close": _close,
    "drain": _drain,
    "resume": _resume,
    "reload": _reload,
    "reopen": _reopen,
    "service": _service,
    "cert": _cert,
    "token": _token,
    "server": _invite,
    "join": _join,
    "convert": _convert,
    "demo": _demo,
    "completion": _completion,
}

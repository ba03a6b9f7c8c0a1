"""Generator of docs/backhaul.1: ``python -m release.manpage``."""

import re
import sys
from collections.abc import Iterator, Sequence
from typing import Final

from msgspec import Struct

from backhaul import __version__
from backhaul.cli.arguments import parser
from backhaul.cli.tree import Argument, Command, read
from backhaul.config.keys import ALL, Key, keys
from backhaul.config.messages import show
from backhaul.config.schema import SIDES
from backhaul.config.secret import Secret

_HEAD: Final = """\
.\\" Made by `python -m release.manpage`; edit release/manpage.py, or the help and the keys in src/backhaul instead.
.TH BACKHAUL 1 "" "Backhaul {version}" "User Commands"
.SH NAME
backhaul \\- reverse tunnel for TCP and UDP through NAT and firewalls
.SH SYNOPSIS
.B backhaul \\-c
.I FILE
.br
.B backhaul
.I command
.RI [ options ]
.SH DESCRIPTION
Backhaul publishes a service that is not reachable from outside: behind NAT, a firewall or a mobile line.
The client runs beside the service and dials out.
The server runs on a machine with a public address, listens for users, and passes their connections back through the
tunnel.
.PP
.B backhaul \\-c
.I FILE
runs one end in the foreground: a server if the file has a table [server], a client if it has a table [client].
"""

_TAIL: Final = """\
.SH SIGNALS
.TP
.BR SIGTERM ", " SIGINT
Stop; users in flight get
.B shutdown_timeout
seconds.
A second signal stops the program at once.
.TP
.B SIGHUP
Read the configuration again.
A changed file is also noticed without it.
.SH EXIT STATUS
.TP
.B 0
Success.
.TP
.B 1
Any other error; of
.BR "backhaul status" :
no program runs, or one of them has no tunnel or a port that is not open.
.TP
.B 2
A mistake in the configuration or on the command line.
.SH ENVIRONMENT
.TP
.B BACKHAUL_TOKEN
The token, if the configuration has none.
.TP
.B CREDENTIALS_DIRECTORY
The directory of systemd that holds the token as
.BR backhaul.token ,
if neither the configuration nor the variable above has one.
.TP
.B RUNTIME_DIRECTORY
The directory of the socket for
.BR "backhaul status" .
.TP
.B STATE_DIRECTORY
The directory in which a client remembers protected servers.
.TP
.B NO_COLOR
Log without colours.
.SH FILES
.TP
.I /etc/backhaul/config.toml
The configuration that
.B backhaul service install
runs by default.
.TP
.I /etc/backhaul/NAME.toml
In Debian's package the configuration of
.BR backhaul@NAME.service .
.TP
.I /run/backhaul
Sockets for
.BR "backhaul status" .
.TP
.I /var/lib/backhaul
State of services.
.SH EXAMPLES
Make a token, check a file and run it:
.PP
.nf
backhaul token
backhaul check \\-\\-strict server.toml
backhaul \\-c server.toml
.fi
.SH SEE ALSO
.BR systemctl (1),
.BR journalctl (1),
.BR systemd.service (5)
"""


def page() -> str:
    """Return the man page."""
    program = read(parser())
    return _HEAD.format(version=__version__) + "\n".join(_body(program)) + "\n" + _TAIL


def _body(program: Command) -> Iterator[str]:
    yield ".SH OPTIONS"
    for option in program.options:
        yield from _entry(_flags(option), option.help)
    yield ".SH COMMANDS"
    for command in program.walk():
        if command.words and not command.commands:
            yield from _command(command)
    yield ".SH CONFIGURATION"
    yield from _configuration()


def _command(command: Command) -> Iterator[str]:
    yield f".SS {_text(f'backhaul{command.path}')}"
    yield f".B {_text(f'backhaul{command.path}')}"
    if synopsis := " ".join([*_optional(command.options), *map(_positional, command.positionals)]):
        yield synopsis
    yield ".PP"
    yield _sentence(command.help)
    for argument in (*command.positionals, *command.options[1:]):  # the first is --help
        yield from _entry(_flags(argument) if argument.flags else f"\\fI{_text(argument.value)}\\fP", argument.help)


def _optional(options: Sequence[Argument]) -> Iterator[str]:
    yield from (f"[{_flag(option, option.flags[-1])}]" for option in options[1:])


def _positional(argument: Argument) -> str:
    name = f"\\fI{_text(argument.value)}\\fP{' ...' if argument.repeats else ''}"
    return name if argument.required else f"[{name}]"


def _flags(option: Argument) -> str:
    return ", ".join(_flag(option, flag) for flag in option.flags)


def _flag(option: Argument, flag: str) -> str:
    return f"\\fB{_text(flag)}\\fP" + (f" \\fI{_text(option.value)}\\fP" if option.value else "")


def _configuration() -> Iterator[str]:
    yield "The file is TOML, with one table, [server] or [client]."
    yield ".B backhaul check"
    yield "shows what a file means, or all of its mistakes."
    yield 'Texts that say "see" name sections of docs/configuration.md.'
    server, client = (keys(schema) for schema in SIDES.values())
    common = {key.name for key in server} & {key.name for key in client}
    for title, listed in (
        ("Keys of both tables", [key for key in server if key.name in common]),
        ("Keys of [server]", [key for key in server if key.name not in common]),
        ("Keys of [client]", [key for key in client if key.name not in common]),
    ):
        yield f".SS {title}"
        for key in listed:
            yield from _entry(f"\\fB{_text(key.name)}\\fP = {_text(key.expected())}", _meaning(key))


def _meaning(key: Key) -> str:
    where = "" if key.traits.on == ALL else f" Only on {', '.join(key.traits.on)}."
    return f"{key.meta.description}{where} {_default(key)}"


def _default(key: Key) -> str:
    if key.mandatory:
        return "Mandatory."
    if isinstance(key.default, Struct):
        return "Default: none."
    value = key.default.reveal() if isinstance(key.default, Secret) else key.default
    return f"Default: {show(list(value) if isinstance(value, tuple) else value)}."


def _entry(title: str, meaning: str) -> Iterator[str]:
    yield ".TP"
    yield title
    yield _sentence(meaning)


def _sentence(text: str) -> str:
    return _text(text[:1].upper() + text[1:].rstrip(".") + ".") if text else ".br"


def _text(text: str) -> str:
    """Return text as roff shows it: all characters mean themselves, and words in backquotes are bold."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    escaped = re.sub(r"[^\0-\x7f]", lambda found: f"\\[u{ord(found.group()):04X}]", escaped)
    if escaped.startswith((".", "'")):
        escaped = f"\\&{escaped}"
    return re.sub("`([^`]*)`", r"\\fB\1\\fP", escaped)


if __name__ == "__main__":
    sys.stdout.write(page())

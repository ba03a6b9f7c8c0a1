"""A command line of ssh with ``-R``, or of autossh."""

import getopt
import re
import shlex
from collections.abc import Iterator
from typing import Final
from urllib.parse import urlsplit

from .draft import NOTHING, OWN_MACHINE, ConvertError, Draft, Gap, Service, Settings, address, listener, target
from .gaps import NO_SOCKS, RANDOM

_NAME: Final = "ssh"
_PROGRAMS: Final = {"ssh": "46AaCfGgKkMNnqsTtVvXxYyB:b:c:D:E:e:F:I:i:J:L:l:m:O:o:P:p:Q:R:S:W:w:"}
_PROGRAMS["autossh"] = _PROGRAMS["ssh"].replace("M", "M:")
_SERVER_PORT: Final = 3080
_HARMLESS: Final = frozenset(f"-{letter}" for letter in "46AaEFfkMNnqSsTtvxp")
_LOGIN: Final = frozenset({"-i", "-I", "-l"})
_REASONS: Final = {
    "-C": ("users' bytes are not compressed", "let the service compress"),
    "-D": NO_SOCKS,
    "-J": ("no jumps", "dial through a proxy with the key proxy"),
    "-L": ("users come in on the server alone", "publish the port from a client on the other side"),
    "-W": ("users come in on the server alone", "list the port in ports"),
    "-w": ("ports are carried, not networks", "run WireGuard through the tunnel"),
    "-b": ("the system chooses the source address", "name an interface with bind_interface"),
}
_TIMEOUT: Final = "connecttimeout"
_SECONDS: Final = re.compile(r"\d{1,9}", re.ASCII)
_KEPT: Final = frozenset(  # options of -o that this program does not need
    {"batchmode", "exitonforwardfailure", "loglevel", "serveralivecountmax", "serveraliveinterval"}
    | {"stricthostkeychecking", "tcpkeepalive", "userknownhostsfile"}
)


def read(line: str) -> Draft:
    """Convert a command line; raise ConvertError for one that forwards no port of the server."""
    options, host = _parsed(line)
    draft = Draft(both={"transport": "tcpmux", "encryption": True})
    draft.client["remote_addr"] = address(host, _SERVER_PORT)
    draft.server["bind_addr"] = f"0.0.0.0:{_SERVER_PORT}"
    for number, spec in enumerate(value for flag, value in options if flag == "-R"):
        _forward(spec, f"-R {number + 1}", draft)
    draft.client |= _settings(options)
    draft.gaps += _gaps(options, host)
    return draft


def is_command(text: str) -> bool:
    """Return whether a text is a command line, and no name of a file."""
    program, _, arguments = text.strip().partition(" ")
    return bool(arguments) and program.rpartition("/")[2] in _PROGRAMS


def _parsed(line: str) -> tuple[list[tuple[str, str]], str]:
    """Return the options, which may follow the destination as well, and the host."""
    try:
        program, *words = shlex.split(line)
        known = _PROGRAMS[program.rpartition("/")[2]]
        options, rest = getopt.getopt(words, known)
        more, _ = getopt.getopt(rest[1:], known)
        host = _host(rest[0]) if rest else ""
    except (ValueError, getopt.GetoptError):
        raise ConvertError(f"{_NAME}: no command line of ssh; put all of it into one pair of quotes") from None
    if not host or not any(flag == "-R" for flag, _ in options + more):
        raise ConvertError(f"{_NAME}: expected -R and a host; name the command line that publishes the port")
    return options + more, host


def _host(destination: str) -> str:
    """Return the host of a destination, which may be a URL, and may have a user; raise ValueError for a wrong URL."""
    if destination.startswith("ssh://"):
        return urlsplit(destination).hostname or ""
    return destination.rpartition("@")[2]


def _forward(spec: str, title: str, draft: Draft) -> None:
    """Add what ``[bind:]port:host:port`` describes, either side of which may be the path of a Unix socket."""
    key = f"{_NAME}: {title}"
    listen, aim = _sides(re.split(r":(?![^\[]*\])", spec))
    if not aim:
        draft.gaps.append(Gap(key, *NO_SOCKS))
    elif listen.rpartition(":")[2] == "0":
        draft.gaps.append(Gap(key, *RANDOM))
    else:
        draft.services[title] = Service(name=title, listen=listen, target=aim, key=key)
        if listen.startswith("127.0.0.1:"):
            remedy = "write the port without a host for all interfaces"
            draft.gaps.append(Gap(key, "listens on 127.0.0.1 only, as sshd does without GatewayPorts", remedy))


def _sides(parts: list[str]) -> tuple[str, str]:
    """Return both sides of an entry of ``ports``; an empty target for a forward without one."""
    if parts[-1].startswith("/"):
        *listen, path = parts
        aim = f"unix:{path}" if listen else ""
    elif len(parts) > 2:  # noqa: PLR2004 - host and port of the target, and the listener
        *listen, host, port = parts
        aim = target("" if host.strip("[]") in OWN_MACHINE else host, port)
    else:
        listen, aim = parts, ""
    return _listener(listen), aim


def _listener(parts: list[str]) -> str:
    if parts and parts[0].startswith("/"):
        return f"unix:{parts[0]}"
    host = parts[0] if len(parts) > 1 else "127.0.0.1"
    return listener("127.0.0.1" if host == "localhost" else host, parts[-1] if parts else "0")


def _settings(options: list[tuple[str, str]]) -> Settings:
    interface = next((value for flag, value in options if flag == "-B"), "")
    settings: Settings = {"bind_interface": interface} if interface else {}
    for name, value in _named(options):
        if name.lower() == _TIMEOUT and _SECONDS.fullmatch(value):
            settings["dial_timeout"] = int(value)
    return settings


def _named(options: list[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Yield names and values of ``-o``."""
    for flag, value in options:
        if flag == "-o":
            name, _, text = re.sub(r"\s*[=\s]\s*", "=", value.strip(), count=1).partition("=")
            yield name, text


def _gaps(options: list[tuple[str, str]], host: str) -> Iterator[Gap]:
    if "." not in host and ":" not in host:
        yield Gap(f"{_NAME}: {host}", "aliases of ssh_config are not looked up", "correct remote_addr where it is one")
    remedy = "remove the key from the server's authorized_keys once nothing else uses it"
    yield Gap(f"{_NAME}: login", "the token takes the place of users and keys", remedy)
    for flag in dict.fromkeys(flag for flag, _ in options):
        if flag not in _HARMLESS | _LOGIN | {"-R", "-B", "-o"}:
            yield Gap(f"{_NAME}: {flag}", *_REASONS.get(flag, ("no counterpart", NOTHING)))
    for name, value in _named(options):
        if name.lower() == _TIMEOUT:
            if not _SECONDS.fullmatch(value):
                yield Gap(f"{_NAME}: -o {name}", "expected a whole number of seconds", "set dial_timeout of the client")
        elif name.lower() not in _KEPT:
            yield Gap(f"{_NAME}: -o {name}", "no counterpart", "check whether the tunnel needs it")

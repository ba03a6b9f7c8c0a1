"""The checks of the configuration file and of the files that it names."""

import os
import pwd
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from backhaul.certificates import first_in
from backhaul.config.checks import unusable, wrong_lists, wrong_page_files, wrong_pair
from backhaul.config.doors import unusable_servers
from backhaul.config.schema import Config, ServerConfig, doors_of
from backhaul.errors import BackhaulError, reason
from backhaul.paths import is_present
from backhaul.reading import read_file
from backhaul.system.systemd import objection

from .certificates import dates, read
from .circumstances import Circumstances
from .finding import Finding, fault, ok, warning
from .wording import span

PAGE: Final = "page"
_STATE: Final = "state"


def examine(config: Config, around: Circumstances) -> Iterator[Finding]:
    """Yield findings about the files and the configuration, and whether the service's user can read all files."""
    mistakes = list(_mistakes(config))
    for line in mistakes:
        yield fault("file", *_parted(line, "correct that file"))
    for line in config.warnings:
        yield warning("file", *_parted(line, "see docs/configuration.md"))
    if not mistakes and not config.warnings:
        yield ok("file", "read, without a warning")
    yield from _of_service(config, around)


def certificate(config: ServerConfig, now: float) -> Iterator[Finding]:
    """Yield a finding about the server's certificate."""
    if problem := next(wrong_pair("tls", config.tls_cert, config.tls_key), ""):
        yield fault("certificate", *_parted(problem, "make a new pair (`backhaul cert`)"))
    else:
        yield from _dated("certificate", "tls_cert", config.tls_cert, now)


def page_certificate(config: Config, now: float) -> Iterator[Finding]:
    """Yield a finding about the certificate of the page, if it has a usable one; ``examine`` reports others."""
    if "web_cert" in config.page_files and not any(wrong_page_files(config)):
        yield from _dated(PAGE, "web_cert", config.web_cert, now)


def _dated(subject: str, key: str, file: str, now: float) -> Iterator[Finding]:
    """Yield a finding about the dates of a certificate, whose file a key names."""
    try:
        found = read(first_in(read_file(file)))
    except (OSError, ValueError) as error:
        yield fault(subject, f"{key} can't be read: {reason(error)}", "name a PEM file, or make one (`backhaul cert`)")
        return
    dated = dates(subject, found, now, "renew it (`backhaul cert` makes one); it is read without a restart")
    names = ", ".join(found.names[:4]) or "no name"
    yield dated or ok(subject, f"for {names}, valid for {span(found.ends - now)}, and its key fits")


def state(around: Circumstances) -> Iterator[Finding]:
    """Yield a finding about the directory in which a client remembers protected servers."""
    folder = around.state
    present = next((one for one in (folder, *folder.parents) if is_present(one)), folder)
    if not os.access(present, os.W_OK | os.X_OK):
        remedy = "correct its permissions, or set STATE_DIRECTORY to another directory"
        yield warning(_STATE, f"{present} is not writable for this user: protected servers would be forgotten", remedy)
    else:
        yield ok(_STATE, f"{folder} is writable")


def _mistakes(config: Config) -> Iterator[str]:
    """Yield the faults that make the files unusable; a server's certificate has a check of its own."""
    if isinstance(config, ServerConfig):
        yield from wrong_page_files(config)
        yield from wrong_lists(config)
    else:
        yield from unusable(config)
        yield from unusable_servers(config)


def _parted(line: str, otherwise: str) -> tuple[str, str]:
    """Return the text of a line and its remedy, or another one if it has none."""
    text, _, remedy = line.rpartition("; ")
    return (text, remedy) if text else (line, otherwise)


def _of_service(config: Config, around: Circumstances) -> Iterator[Finding]:
    """Yield a fault for each file that the user of the running program can't use; only root can find out."""
    for program in around.programs if os.geteuid() == 0 else ():
        with suppress(OSError, KeyError, BackhaulError):
            user = Path(str(program.get("socket"))).lstat().st_uid
            yield from _as_user(pwd.getpwuid(user).pw_name, config, around.file) if user else ()


def _as_user(user: str, config: Config, file: str) -> Iterator[Finding]:
    remedy = "correct the permissions of the file and of the directories above it; the next start would fail"
    for path in filter(None, dict.fromkeys((file, *_named_by(config)))):
        if objection(user, ["test", "-r", os.path.abspath(path)]):  # noqa: PTH100 - keeps links
            yield fault("file", f"user {user}, as whom the program runs, can't read {path}", remedy)


def _named_by(config: Config) -> Iterator[str]:
    """Yield the files that the configuration names, empty where it does not."""
    yield config.token_file
    yield from config.page_files.values()
    if isinstance(config, ServerConfig):
        yield from (config.tls_cert, config.tls_key) if config.facts.tls else ()
        return
    for door in doors_of(config):
        yield from (door.token_file, door.tls_ca if door.facts.tls else "")

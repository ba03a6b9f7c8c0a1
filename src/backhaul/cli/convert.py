"""The command ``backhaul convert``: writes both ends' files from those of another program."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from backhaul.config import ConfigError, load
from backhaul.convert import ConvertError, Files, Source, convert
from backhaul.convert.ssh import is_command
from backhaul.errors import BackhaulError
from backhaul.paths import is_present
from backhaul.reading import MOST, decoded, read_file_or_pipe
from backhaul.system.files import make_folder, put
from backhaul.system.token import make_token

_FOR: Final = {
    "server": "for the machine with the public address",
    "client": "for the machine behind the firewall",
}
_NEXT: Final = """
copy each file to its machine, then run it there, or as root install it as a service
  backhaul -c FILE
  backhaul service install -c FILE"""
_OK, _MISTAKES = 0, 2


def run(names: Sequence[str], folder: Path) -> int:
    """Convert files, or a command line of ssh, into ``folder``; return the exit code."""
    try:
        files = convert([_source(name) for name in names], make_token)
        _write(files, folder)
    except BackhaulError as error:
        print(f"backhaul convert: {error}", file=sys.stderr)
        return _MISTAKES
    print("\n".join(_report(files, folder)))
    mistakes = list(_mistakes(files, folder))
    if mistakes:
        print("\nto be corrected before the start", *mistakes, sep="\n  ", file=sys.stderr)
    return _MISTAKES if mistakes else _OK


def _source(name: str) -> Source:
    if is_command(name):
        return Source(name)
    try:
        data = read_file_or_pipe(name)
        if len(data) > MOST:
            raise ConvertError(f"{name}: larger than {MOST >> 20} MB; name a configuration")
        return Source(decoded(data), name)
    except IsADirectoryError:
        raise ConvertError(f"{name}: a directory; name one of its files") from None
    except OSError as error:
        raise ConvertError(f"{name}: cannot be read: {error.strerror}; check the path and its permissions") from None
    except ValueError:
        raise ConvertError(f"{name}: not UTF-8 text; save it as UTF-8") from None


def _write(files: Files, folder: Path) -> None:
    """Write all files or none."""
    for name in files.texts:
        if is_present(folder / name):
            raise ConvertError(f"{folder / name}: exists; name another directory with --to")
    try:
        make_folder(folder)
        for name, text in files.texts.items():
            put(folder / name, text.encode(), 0o600, force=False)
    except OSError as error:
        raise ConvertError(f"{folder}: cannot be written: {error.strerror}; name another directory with --to") from None


def _report(files: Files, folder: Path) -> Iterator[str]:
    for name in files.texts:
        yield f"{folder / name} is written, {_FOR[name.partition('-')[0].partition('.')[0]]}"
    if files.gaps:
        yield "\nwithout a counterpart, or different"
        yield from (f"  {gap}" for gap in files.gaps)
    yield _NEXT


def _mistakes(files: Files, folder: Path) -> Iterator[str]:
    for name in files.texts:
        try:
            load(folder / name)
        except ConfigError as error:
            yield from error.problems

"""Commands of the system, whose output and time are bounded."""

import os
import subprocess
import threading
from collections.abc import Sequence
from typing import Final

from backhaul.errors import BackhaulError, reason

from .part import MOST

_PATIENCE: Final = 10.0  # seconds
# Untranslated, and without variables of this program that may hold a secret. The last one leads to a user's manager.
_ENVIRONMENT: Final = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}
_KEPT: Final = "XDG_RUNTIME_DIR"


def output_of(command: Sequence[str], patience: float = _PATIENCE) -> str:
    """Return the beginning of the output of a command; raise BackhaulError if it fails or takes longer."""
    environment = _ENVIRONMENT | {_KEPT: os.environ.get(_KEPT, "")}
    try:
        process = subprocess.Popen(  # noqa: S603 - no shell
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment
        )
    except OSError as error:
        raise BackhaulError(f"cannot run {command[0]}: {reason(error)}") from None
    text, late = _read(process, patience)
    if late:
        raise BackhaulError(f"{command[0]} gave no answer within {patience:g} s")
    if len(text) <= MOST and process.returncode:
        raise BackhaulError(
            "; ".join([f"{command[0]} ended with status {process.returncode}", *text.strip().splitlines()[:1]])
        )
    return text


def _read(process: "subprocess.Popen[bytes]", patience: float) -> tuple[str, bool]:
    """Return the output, cut after MOST bytes and one, and whether the time was over before its end."""
    late = threading.Event()

    def give_up() -> None:
        late.set()
        process.kill()

    timer = threading.Timer(patience, give_up)
    timer.start()
    with process:
        assert process.stdout  # noqa: S101 - a pipe
        data = process.stdout.read(MOST + 1)
        if len(data) > MOST:
            process.kill()
    timer.cancel()
    return data.decode(errors="replace"), late.is_set()

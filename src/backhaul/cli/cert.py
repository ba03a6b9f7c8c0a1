"""The command ``backhaul cert``: makes a key and a self-signed certificate, and prints the settings of both ends."""

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from backhaul.config.messages import show
from backhaul.system import certificate

_ADVICE = """\
For the server's file, below [server]:
  tls_cert = {certificate}
  tls_key = {key}

For the client's file, below [client], so that it accepts this server and no other, unless security = "required" there:
  tls_fingerprint = "{fingerprint}"
"""

_ONLY_LOCAL = """\
This machine has no public address. If the client verifies names (tls_verify), pass the name that it dials:
  backhaul cert --force --name tunnel.example.com
"""


def run(names: Sequence[str], *, days: int, folder: Path, force: bool) -> int:
    """Make the pair, write it into ``folder`` and print the keys to set; return the exit code.

    Without ``names`` the certificate is for the names of this machine.
    """
    wanted = list(names) or certificate.own_names()
    try:
        pair = certificate.make(wanted, days, datetime.now(UTC))
        certificate.write(pair, folder, force=force)
    except ValueError as error:
        return _fail(f"cannot make a certificate for {', '.join(wanted)}: {error}")
    except FileExistsError as error:
        return _fail(f"{error.filename2 or error.filename} exists; replace it with --force, or set --out")
    except OSError as error:
        return _fail(f"cannot write {error.filename or folder}: {error.strerror}")
    paths = {"certificate": folder.absolute() / certificate.CERTIFICATE, "key": folder.absolute() / certificate.KEY}
    print(f"{paths['certificate']}\n  for {', '.join(wanted)}; valid until {pair.until:%Y-%m-%d}")
    print(f"{paths['key']}\n  its private key; keep it secret\n")
    print(_ADVICE.format(fingerprint=pair.fingerprint, **{name: show(str(path)) for name, path in paths.items()}))
    if not names and not any(map(certificate.is_public, wanted)):
        print(_ONLY_LOCAL)
    return 0


def _fail(problem: str) -> int:
    print(f"backhaul cert: {problem}", file=sys.stderr)
    return 1

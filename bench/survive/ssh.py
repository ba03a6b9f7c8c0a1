"""A real sshd for the users, and the command line of its clients; the machine's own files stay as they are."""

import shlex
from pathlib import Path

from bench.processes import LOOPBACK, find_tool, run_tool

TARGET = "target"  # the name under which clients know the server's key
CONFIG = """\
ListenAddress {address}:{port}
HostKey {folder}/host
AuthorizedKeysFile {folder}/user.pub
AuthenticationMethods publickey
PermitRootLogin yes
UsePAM no
StrictModes no
PidFile none
"""

# In a mount namespace. sshd wants an empty directory in /run. Without PAM it refuses a root whose account is locked.
PREPARE = """\
set -e
mount -t tmpfs none /run
mkdir /run/sshd
mount --bind {folder}/shadow /etc/shadow
exec {sshd} -D -e -f {folder}/sshd.conf
"""
SHADOW = "root:*:20000::::::\nsshd:*:20000::::::\n"

KEY_TIMEOUT = 30.0  # seconds


def sshd_command(folder: Path, port: int) -> list[str]:
    """Make the keys and the configuration of a server on 127.0.0.1, and return its command line. Raises BenchError."""
    folder.mkdir()
    for name in ("host", "user"):
        run_tool("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name), timeout=KEY_TIMEOUT)
    (folder / "known").write_text(f"{TARGET} {(folder / 'host.pub').read_text()}")
    (folder / "shadow").write_text(SHADOW)
    (folder / "sshd.conf").write_text(CONFIG.format(address=LOOPBACK, port=port, folder=folder))
    prepare = PREPARE.format(folder=shlex.quote(str(folder)), sshd=find_tool("sshd"))
    return [find_tool("unshare"), "--mount", "sh", "-c", prepare]


def ssh_command(folder: Path, port: int) -> list[str]:
    """Return the command line of a client without timeouts of its own; the server's name is to follow."""
    options = {
        "IdentityFile": folder / "user", "IdentitiesOnly": "yes", "BatchMode": "yes", "StrictHostKeyChecking": "yes",
        "UserKnownHostsFile": folder / "known", "GlobalKnownHostsFile": "none", "HostKeyAlias": TARGET,
        "ServerAliveInterval": 0, "TCPKeepAlive": "no", "ControlPath": "none",
    }  # fmt: skip
    settings = [f"-o{key}={value}" for key, value in options.items()]
    return [find_tool("ssh"), "-F", "none", *settings, "-l", "root", "-p", str(port)]

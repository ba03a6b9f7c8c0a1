"""The text of the systemd unit that keeps one end running."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

MARK: Final = "# Written by `backhaul service install`, which replaces it; own settings go into `systemctl edit`."
"""The first line: only units that begin with it are replaced or removed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """What differs from one unit to another."""

    name: str
    """Without ".service"; the state directory is /var/lib/<name>."""
    about: str
    """A few words of the program's own: not quoted."""
    command: tuple[str, ...]
    """Absolute program and its arguments."""
    user: str
    low_ports: bool
    """Whether it may listen on ports below 1024."""
    tuning: bool
    """Whether it may change the kernel's network settings."""
    homes: bool
    """Whether it needs files below /home, /root or /run/user."""
    writable: tuple[str, ...]
    """Absolute directories it writes to, beside the state directory."""
    stop_timeout: int
    """Seconds from SIGTERM to SIGKILL."""

    def text(self) -> str:
        """Return the unit. Raises ValueError for a path that no unit can name."""
        return _TEMPLATE.format(
            mark=MARK,
            name=self.name,
            about=self.about,
            user=self.user,
            start=_command(self.command),
            stop_timeout=self.stop_timeout,
            capabilities=" ".join(self._capabilities()),
            tunables="no" if self.tuning else "yes",
            home="read-only" if self.homes else "yes",
            writable="".join(f"\nReadWritePaths={_quoted('-' + path)}" for path in self.writable),
        )

    def _capabilities(self) -> Iterator[str]:
        if self.low_ports:
            yield "CAP_NET_BIND_SERVICE"
        if self.tuning:
            yield "CAP_NET_ADMIN"  # the kernel lets it write net.* below /proc/sys, whose files are root's


_PLAIN: Final = re.compile(r"[\w./:@=+-]+", re.ASCII)  # words that mean the same with and without quotes

# Left out on purpose: ProcSubset=pid, for the monitoring page shows the machine's load; PrivateUsers=, under
# which capabilities do not count for the machine's ports.
_TEMPLATE: Final = """\
{mark}
[Unit]
Description={about}
Wants=network-online.target
After=network-online.target
# Try for ever: a machine behind its tunnel cannot be reached to start it by hand.
StartLimitIntervalSec=0

[Service]
Type=notify
NotifyAccess=main
ExecStart={start}
ExecReload=/bin/kill -HUP $MAINPID
Restart=always
RestartSec=3
# A mistake in the configuration: another try would end the same way.
RestartPreventExitStatus=2
WatchdogSec=30
# Listening sockets stay here over a restart, and users wait in them. Before systemd 254 the program is not told.
FileDescriptorStoreMax=4096
Environment=FDSTORE=4096
# shutdown_timeout for the users in flight, and time to close.
TimeoutStopSec={stop_timeout}
# Each user takes two descriptors and some pipes; the default is 1024.
LimitNOFILE=1048576
SyslogIdentifier={name}

User={user}
# Relative paths of the configuration, such as sniffer_log's, start here.
StateDirectory={name}
WorkingDirectory=%S/{name}
# For the socket that `backhaul status` asks, and for Unix sockets of users, who wait in them over a restart.
RuntimeDirectory=backhaul/{name}
RuntimeDirectoryPreserve=restart
UMask=0077

CapabilityBoundingSet={capabilities}
AmbientCapabilities={capabilities}
NoNewPrivileges=yes
ProtectSystem=strict{writable}
ProtectHome={home}
PrivateTmp=yes
PrivateDevices=yes
ProtectProc=invisible
ProtectClock=yes
ProtectHostname=yes
ProtectControlGroups=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
# "no" where skip_optz = false: the program then tunes net.* at its start.
ProtectKernelTunables={tunables}
# No AF_NETLINK: without it even CAP_NET_ADMIN changes no firewall rule.
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
RemoveIPC=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
# Both would act for anybody who is root, even without capabilities.
InaccessiblePaths=-/run/dbus -/run/systemd/private
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged
SystemCallErrorNumber=EPERM

[Install]
WantedBy=multi-user.target
"""


def _command(words: Sequence[str]) -> str:
    """Write a command line; systemd looks for variables in the arguments (systemd.service(5), "Command lines")."""
    program, *arguments = map(_quoted, words)
    return " ".join([program, *(word.replace("$", "$$") for word in arguments)])


def _quoted(word: str) -> str:
    """Write one word of a setting, free of specifiers (systemd.syntax(7), "Quoting"); raise ValueError."""
    if _PLAIN.fullmatch(word):
        return word
    if not word.isprintable():
        raise ValueError(f"the path {word!r} holds a control character; rename it")
    escaped = word.replace("%", "%%").replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'

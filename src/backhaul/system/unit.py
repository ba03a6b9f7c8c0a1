"""The text of the systemd unit that runs one end."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

MARK: Final = "# Written by `backhaul service install`, which replaces it; own settings go into `systemctl edit`."
"""The first line: only units that begin with it are replaced or removed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """The variable parts of a unit."""

    name: str
    """Without ".service"; the state directory is /var/lib/<name>."""
    about: str
    """The description, chosen by the program: not quoted."""
    command: tuple[str, ...]
    """The program, an absolute path, and its arguments."""
    forks: bool
    """True if the program notifies systemd from a child of the process that systemd starts."""
    user: str
    low_ports: bool
    """True if it may listen on ports below 1024."""
    tuning: bool
    """True if it may change the kernel's network settings."""
    marks: bool
    """True if it marks the packets that it sends."""
    interface: bool
    """True if it binds to a network interface."""
    homes: bool
    """True if it needs files below /home, /root or /run/user."""
    writable: tuple[str, ...]
    """Absolute paths of the directories it writes to, in addition to the state directory."""
    stop_timeout: int
    """Seconds from SIGTERM to SIGKILL."""

    def text(self) -> str:
        """Return the unit's text; raise ValueError for a path that no unit can name."""
        return _TEMPLATE.format(
            mark=MARK,
            name=self.name,
            about=self.about,
            user=self.user,
            start=_command(self.command),
            access="all" if self.forks else "main",
            stop_timeout=self.stop_timeout,
            capabilities=" ".join(self._capabilities()),
            tunables="no" if self.tuning else "yes",
            home="read-only" if self.homes else "yes",
            writable="".join(f"\nReadWritePaths={_quoted('-' + path)}" for path in self.writable),
        )

    def _capabilities(self) -> Iterator[str]:
        if self.low_ports:
            yield "CAP_NET_BIND_SERVICE"
        if self.tuning or self.marks:
            yield "CAP_NET_ADMIN"  # allows SO_MARK, and writing net.* below /proc/sys, where files belong to root
        if self.interface:
            yield "CAP_NET_RAW"  # allows SO_BINDTODEVICE, which everyone may use from Linux 5.7 on


_PLAIN: Final = re.compile(r"[\w./:@=+-]+", re.ASCII)  # words that mean the same with and without quotes

# Left out on purpose: ProcSubset=pid, because the monitoring page shows the machine's load, and PrivateUsers=, under
# which capabilities have no effect on the machine's ports.
_TEMPLATE: Final = """\
{mark}
[Unit]
Description={about}
Wants=network-online.target
After=network-online.target
# Restart without limit: a machine behind its tunnel cannot be reached to start it by hand.
StartLimitIntervalSec=0

[Service]
Type=notify
NotifyAccess={access}
ExecStart={start}
ExecReload=/bin/kill -HUP $MAINPID
Restart=always
RestartSec=3
# 2 means an error in the configuration: another start would end the same way.
RestartPreventExitStatus=2
WatchdogSec=30
# Keep listening sockets during a restart, so that users wait in them. Before systemd 254 FDSTORE is not set.
FileDescriptorStoreMax=4096
Environment=FDSTORE=4096
# A start takes a second, but a small machine may be busy with its own; the default is 90 seconds.
TimeoutStartSec=300
# shutdown_timeout for users in flight, and time to close.
TimeoutStopSec={stop_timeout}
# Each user takes two descriptors and some pipes; the default is 1024.
LimitNOFILE=1048576
SyslogIdentifier={name}

User={user}
# Relative paths in the configuration, such as sniffer_log's, start here. A client remembers protected servers here.
StateDirectory={name}
WorkingDirectory=%S/{name}
# For the socket of `backhaul status`, and for Unix sockets in which users wait during a restart.
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
# Without AF_NETLINK not even CAP_NET_ADMIN can change firewall rules.
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
RemoveIPC=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
# Both accept commands from root, even without capabilities.
InaccessiblePaths=-/run/dbus -/run/systemd/private
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged
SystemCallErrorNumber=EPERM

[Install]
WantedBy=multi-user.target
"""


def _command(words: Sequence[str]) -> str:
    """Return a command line; systemd expands variables in the arguments (systemd.service(5), "Command lines")."""
    program, *arguments = map(_quoted, words)
    return " ".join([program, *(word.replace("$", "$$") for word in arguments)])


def _quoted(word: str) -> str:
    """Return one word of a setting, quoted and free of specifiers (systemd.syntax(7), "Quoting"); raise ValueError."""
    if _PLAIN.fullmatch(word):
        return word
    if not word.isprintable():
        raise ValueError(f"the path {word!r} holds a control character; rename it")
    escaped = word.replace("%", "%%").replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'

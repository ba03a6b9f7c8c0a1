"""A user in flight, as the monitor lists one."""

from backhaul.monitor.connections import ConnectionStatus

USER = ConnectionStatus(
    id=7,
    protocol="tcp",
    since=1_700_000_000.0,
    user="192.0.2.1:5000",
    port="*:443",
    client="berlin",
    target="127.0.0.1:80",
    carrier="tcpmux stream 3 of session 8",
    state="open",
    received=1024,
    sent=2048,
)

"""The method of a run, as the page describes it."""

from bench.report.results import Run

METHOD = """\
Every number is taken on one machine over 127.0.0.1, with both ends of the tunnel beside the load generator
and the backend, so that all of them share its cores: the ratios say more than the absolute values. A round
starts every program afresh; within it each measurement visits all routes in turn, seconds apart. Of several
rounds the best value counts (of failed requests the worst). A measurement during which the hypervisor took
more than {limit:.1%} of the CPU time is dropped and repeated at most twice: {dropped} of {total} were
dropped in this run.

The yardstick is two HAProxy processes in a row in plain TCP mode: one thread each, default buffers, no
logging. A column "to X" holds backhaul's value divided by that of X in the same run. Bulk is iperf3;
requests are `ab` against a one-line nginx page without keep-alive; echo is a blocking client that sends 64
bytes and waits for them; memory is the growth of a process's proportional set size while idle connections
are opened, divided by their number.

Where the system's congestion control is BBR, as named below, it paces every connection of this benchmark but
those of backhaul, which takes it off connections within the machine: that is half of its lead in bulk. Where
it is cubic, nobody is paced.
"""

# bench/scenarios/dialects has the details.
MODES = """\
Each other program runs in its mode nearest to the transport, with its own defaults otherwise. v0.7.2 reads the same
files. rathole opens a connection for each user and has nothing near the multiplexed transports; on wss its other
encrypted modes are measured, too. On a transport called sealed this program runs with `security = "required"` and
`encryption = true`, otherwise with the defaults, which protect each connection and leave payload in clear; beside the
sealed ones rathole encrypts with Noise, also beside sessions, and v0.7.2, which has no encryption of its own, runs in
clear. frps does not end the TLS of its protocol wss itself, so TLS runs inside the WebSocket. Its streams have windows
of their own, as those of `mux_version = 2`.

| transport | rathole, `transport.type` | frp, `transport.protocol` |
| --- | --- | --- |
| tcp | `tcp` | `tcp` without `tcpMux` |
| tcpmux | - | `tcp` with `tcpMux` |
| ws | `websocket` | `websocket` without `tcpMux` |
| tcp sealed, tcpmux sealed | `noise` | - |
| udp sealed | `noise`, services of type `udp` | - |
| wss | `websocket` with TLS, `tls`, `noise` | `websocket` with TLS, without `tcpMux` |
| wsmux | - | `websocket` with `tcpMux` |
| wssmux | - | `websocket` with TLS, with `tcpMux` |
| udp, tcp+udp | `tcp`, services of type `udp` | `tcp` without `tcpMux`, proxies of type `udp` |
| tcpmux+udp | - | `tcp` with `tcpMux`, proxies of type `udp` |
"""


def method(run: Run) -> str:
    """Return the text with the figures of the run."""
    text = METHOD.format(limit=run.steal_limit, dropped=run.dropped, total=len(run.samples))
    return f"{text}\n{MODES}"


def circumstances(run: Run) -> list[str]:
    """Return the programs, machine and date as the items of a list."""
    facts = [("date", run.date), *run.machine.items(), *run.peers.items()]
    return [f"- {key}: {value}" for key, value in facts]


def failures(run: Run) -> list[str]:
    """Return the failed measurements as a section, empty if there are none."""
    if not run.failures:
        return []
    return ["", "### What could not be measured", "", *[f"- {failure}" for failure in run.failures]]

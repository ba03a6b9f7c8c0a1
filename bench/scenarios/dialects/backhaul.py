"""The files of this program, of v0.7.2 and of all others that read the same files."""

from functools import partial

from bench.processes import LOOPBACK
from bench.scenarios.dialects.toml import section
from bench.scenarios.dialects.wiring import TOKEN, Files, Modes, Wiring
from bench.scenarios.variants import VARIANTS, Settings


def modes(variant: str) -> Modes:
    """Return the one mode of a variant: itself."""
    return {"": partial(_files, VARIANTS[variant])}


def _files(settings: Settings, wiring: Wiring) -> Files:
    return Files(section("server", _server(settings, wiring)), section("client", _client(settings, wiring)))


def _server(settings: Settings, wiring: Wiring) -> dict[str, object]:
    certificate, key, *_ = wiring.secrets
    return {
        "bind_addr": f"{wiring.listen}:{wiring.bind}",
        "channel_size": 8192,  # 3 000 idle users and 500 at once must not be refused for lack of a queue slot
        "tls_cert": str(certificate),
        "tls_key": str(key),
        "sniffer_log": str(certificate.with_name("usage-server.json")),  # beside the other files of this round
        "heartbeat": 40,
        "ports": [f"{LOOPBACK}:{wiring.ports[s]}={LOOPBACK}:{target}" for s, target in wiring.targets.items()],
        **_common(settings),
        **settings.server,
    }


def _client(settings: Settings, wiring: Wiring) -> dict[str, object]:
    log = wiring.secrets.certificate.with_name("usage-client.json")
    return {
        "remote_addr": f"{wiring.host}:{wiring.bind}",
        "connection_pool": wiring.pool,
        "sniffer_log": str(log),
        **_common(settings),
    }


def _common(settings: Settings) -> dict[str, object]:
    # skip_optz: a benchmark must not change the sysctls of the machine it runs on.
    common = {"transport": settings.transport, "token": TOKEN, "nodelay": True, "skip_optz": True}
    return {**common, "log_level": "warn", **settings.both}

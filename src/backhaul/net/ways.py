"""The dialer for each way to a server: directly, or through a proxy."""

from .bridge import Bridges
from .connector import AnyDialer, Dialer
from .poller import Poller
from .proxy import Proxy
from .resolver import Resolver


def make_dialer(poller: Poller, timeout: float, resolver: Resolver, proxy: Proxy | None, bridges: Bridges) -> AnyDialer:
    """Return a dialer. One through a proxy over TLS leaves its connections to ``bridges``."""
    if not proxy:
        return Dialer(poller, timeout, resolver)
    if proxy.kind == "https":
        from .tls_proxy_dialer import TlsProxyDialer  # noqa: PLC0415 - few clients have a proxy

        return TlsProxyDialer(poller, timeout, resolver, proxy, bridges)
    from .proxy_dialer import ProxyDialer  # noqa: PLC0415 - as above

    return ProxyDialer(poller, timeout, resolver, proxy)

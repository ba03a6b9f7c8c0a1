"""The size of the frames of smux."""

import pytest
from tests.support.net import echo
from tests.support.tunnel import Net

from backhaul.mux.link import Link

LEGACY = 'security = "legacy"'


@pytest.mark.parametrize(
    ("lines", "size"),
    [("", 65535), ("mux_framesize = 16384", 16384), (LEGACY, 32768), (f"mux_framesize = 40000\n{LEGACY}", 40000)],
    ids=["as large as possible", "as small as configured", "those of v0.7.2", "as configured for v0.7.2"],
)
@pytest.mark.parametrize("transport", ["tcpmux", "wsmux"])
async def test_frames_are_as_large_as_the_peer_and_the_file_allow(
    net: Net, transport: str, lines: str, size: int
) -> None:
    net.transport = transport
    tunnel = await net.tunnel(await net.echo(), server=lines, client=lines)
    await echo(await tunnel.user(), bytes(200_000))
    links = (*tunnel.server.relay.links, *tunnel.client.relay.links)
    assert {link.session.settings.max_frame for link in links if isinstance(link, Link)} == {size}

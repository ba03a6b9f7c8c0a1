"""The size of the frames of smux, and the windows of its streams."""

import pytest
from tests.support.net import echo
from tests.support.tunnel import Net

from backhaul.mux.link import Link
from backhaul.wire.smux import KNOWN_WINDOW

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


@pytest.mark.parametrize(
    ("lines", "version", "window"),
    [
        ("", 2, KNOWN_WINDOW),
        ("mux_version = 2\nmux_streambuffer = 100000", 2, 100000),
        ("mux_recievebuffer = 1048576", 2, 65536),
        (LEGACY, 1, 65536),
        (f"mux_version = 2\n{LEGACY}", 2, 65536),
    ],
    ids=["usual", "as configured", "small buffer", "version 1 of v0.7.2", "version 2 of v0.7.2"],
)
async def test_protected_sessions_have_windows(net: Net, lines: str, version: int, window: int) -> None:
    net.transport = "tcpmux"
    tunnel = await net.tunnel(await net.echo(), server=lines, client=lines)
    await echo(await tunnel.user(), bytes(200_000))
    links = (*tunnel.server.relay.links, *tunnel.client.relay.links)
    found = [link.session.settings for link in links if isinstance(link, Link)]
    assert {(settings.version, settings.stream_buffer) for settings in found} == {(version, window)}

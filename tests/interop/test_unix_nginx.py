"""A server on Unix sockets, to which nginx forwards clients and users."""

import asyncio
import os
from pathlib import Path

import pytest
from tests.support.net import HOST, free_port, until
from tests.support.nginx import nginx
from tests.support.tunnel import Net, server_config

SITE = """
location / {{
    proxy_pass http://unix:{folder}/tunnel; proxy_http_version 1.1; proxy_set_header Host $host;
    proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection "upgrade";
}}
location /app/ {{ proxy_pass http://unix:{folder}/port; }}
"""


@pytest.mark.parametrize("transport", ["ws", "wsmux"])
async def test_clients_and_users(tmp_path: Path, transport: str) -> None:
    async with nginx(tmp_path, SITE.format(folder=tmp_path)) as front, Net(transport) as net:
        target, user_port = net.listen(), free_port()
        mappings = [f"unix:{tmp_path}/port={target.port}", f"{HOST}:{user_port}={await net.echo()}"]
        server = await net.run(server_config(transport, f"unix:{tmp_path}/tunnel", mappings))
        await net.client(front)
        await until(lambda: server.tunnel.connected)
        user, data = await net.dial(user_port), os.urandom(1 << 20)
        sending = asyncio.ensure_future(user.send(data))
        assert await user.receive(len(data)) == data
        await sending
        visitor, web = await net.dial(front), target.accept()
        await visitor.send(b"GET /app/page HTTP/1.0\r\n\r\n")
        served = await web
        assert (await served.receive_some()).startswith(b"GET /app/page HTTP/1.0\r\n")
        await served.send(b"HTTP/1.0 200 OK\r\n\r\nhello")
        served.close()
        assert (await visitor.receive_all()).endswith(b"\r\n\r\nhello")

"""The upgrade through nginx as a reverse proxy: the headers that it passes on, and the one that it refuses."""

import json
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from backhaul.wire import upgrade
from backhaul.wire.http1 import Request, RequestReader
from backhaul.wire.upgrade import (
    NONCE_SIZE,
    USER_AGENTS,
    Answer,
    AnswerReader,
    Asked,
    UpgradeError,
    accept,
    bearer,
    encode_key,
    is_direct_v072,
    key_of,
    message_line,
    padding_line,
    sealed_message,
    upgrade_problem,
)

TRANSCRIPTS = json.loads((Path(__file__).parents[1] / "data" / "transcripts.json").read_text())
TOKEN = b"s3cret"
PATIENCE = 30.0  # seconds without a byte after which the two ends count as stuck
CONFIGURATION = """
daemon off; pid {directory}/pid; error_log {directory}/error.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy; fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi; scgi_temp_path {directory}/scgi;
    server {{
        listen 127.0.0.1:{front};
        location / {{
            proxy_pass http://127.0.0.1:{back};
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection "upgrade";
            proxy_set_header Host $host;
            proxy_set_header X-Forwarded-For $remote_addr;
        }}
    }}
}}
"""


class Proxied:
    """The connections of a client and a server, with nginx between them."""

    def __init__(self, front: socket.socket, back: socket.socket) -> None:
        back.settimeout(PATIENCE)
        self.back = back
        self.client = socket.create_connection(front.getsockname(), timeout=PATIENCE)
        self.open = [self.client]

    def ask(self, head: bytes) -> Request:
        """Send a request; return the bytes that reach the server."""
        self.client.sendall(head)
        self.server, _ = self.back.accept()
        self.open.append(self.server)
        self.server.settimeout(PATIENCE)
        reader = RequestReader()
        while not (request := reader.feed(self.server.recv(100_000))):
            pass
        return request

    def answer(self, head: bytes, key: bytes) -> Answer:
        """Send an answer; return the bytes that reach the client."""
        self.server.sendall(head)
        reader = AnswerReader(key)
        while not (answer := reader.feed(self.client.recv(100_000))):
            pass
        return answer

    def close(self) -> None:
        for end in self.open:
            end.close()


@pytest.fixture
def proxied(tmp_path: Path) -> Iterator[Proxied]:
    nginx = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if nginx is None:
        pytest.skip("nginx is not installed")
    # nginx inherits the listening socket, as from its predecessor in an upgrade, so it can be connected to at once.
    with socket.create_server(("127.0.0.1", 0)) as front, socket.create_server(("127.0.0.1", 0)) as back:
        front.setblocking(False)
        configuration = tmp_path / "nginx.conf"
        ports = {"front": front.getsockname()[1], "back": back.getsockname()[1]}
        configuration.write_text(CONFIGURATION.format(directory=tmp_path, **ports))
        with subprocess.Popen(
            [nginx, "-p", str(tmp_path), "-e", str(tmp_path / "error.log"), "-c", str(configuration)],
            env={"NGINX": f"{front.fileno()};"},
            pass_fds=[front.fileno()],
        ) as process:
            try:
                path = Proxied(front, back)
                yield path
                path.close()
            finally:
                process.terminate()


def recorded_request() -> bytes:
    """Return a tunnel connection's request as v0.7.2's client sent it."""
    events = TRANSCRIPTS["wsmux"]["events"]
    event = next(event for event in events if event.get("http", "").startswith("GET /tunnel/"))
    return "\r\n".join([event["http"], *event["headers"], "", ""]).encode()


@pytest.mark.parametrize("size", [56, 56 + 63, 96 + 512])
def test_messages_of_a_handshake_pass_through_nginx(proxied: Proxied, size: int) -> None:
    key, first, second = encode_key(os.urandom(NONCE_SIZE)), os.urandom(size), os.urandom(size)
    asked = Asked(path="/tunnel/7", host="a", default_port=80, key=key, user_id=7, user_agent=USER_AGENTS[0])
    request = proxied.ask(upgrade.sealed_request(asked, first))
    assert not upgrade_problem(request)
    assert bearer(request) is None
    assert sealed_message(request) == first
    assert proxied.answer(accept(key, message_line(second)), key) == Answer(second, b"")


def test_a_v072_client_through_nginx_does_not_count_as_direct(proxied: Proxied) -> None:
    request = proxied.ask(recorded_request())
    assert not upgrade_problem(request)
    assert bearer(request) == TOKEN
    assert not is_direct_v072(request)
    assert proxied.answer(accept(key_of(request)), key_of(request)) == Answer(message=b"", rest=b"")


def test_nginx_refuses_the_padding(proxied: Proxied) -> None:
    request = proxied.ask(recorded_request())
    with pytest.raises(UpgradeError, match="a proxy in between answered 502"):
        proxied.answer(accept(key_of(request), padding_line(key_of(request))), key_of(request))

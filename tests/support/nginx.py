"""nginx, with the configurations that the decoys imitate (docs/configuration.md)."""

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from .cert import certificate
from .net import HOST, free_port, until

_CONFIGURATION = """
daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log;
events {{ worker_connections 512; }}
http {{
    include /etc/nginx/mime.types; default_type application/octet-stream;
    sendfile on; keepalive_timeout {keepalive}; server_tokens off; access_log off; {timeouts}
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    ssl_protocols TLSv1.2 TLSv1.3; ssl_certificate {cert}; ssl_certificate_key {key};
    server {{
        listen {host}:{port}{tls};
        {site}
    }}
}}
"""

NOTHING = "location / { return 404; }"


def files(root: Path) -> str:
    """Return the files that nginx serves for the decoy of a directory."""
    return f"root {root}; index index.html; location ~ /\\. {{ return 404; }}"


@contextlib.asynccontextmanager
async def nginx(
    folder: Path, site: str, *, tls: bool = False, keepalive: str = "65", timeouts: str = ""
) -> AsyncIterator[int]:
    """Run nginx; yield its port."""
    program = shutil.which("nginx")
    if program is None:
        pytest.skip("nginx is not installed")
    cert, key = certificate()
    port = free_port()
    file = folder / "nginx.conf"
    file.write_text(
        _CONFIGURATION.format(
            folder=folder, host=HOST, port=port, tls=" ssl" if tls else "", site=site, cert=cert, key=key,
            keepalive=keepalive, timeouts=timeouts,
        )
    )  # fmt: skip
    process = await asyncio.create_subprocess_exec(program, "-c", str(file), stderr=asyncio.subprocess.DEVNULL)
    try:
        await until((folder / "pid").exists)
        yield port
    finally:
        process.kill()
        await process.wait()

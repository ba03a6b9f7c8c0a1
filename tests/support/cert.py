"""A certificate for the tests of TLS, made once per run."""

import atexit
import functools
import shutil
import subprocess
import tempfile
from pathlib import Path


@functools.cache
def certificate(name: str = "server") -> tuple[Path, Path]:
    """Return the files of a self-signed certificate for localhost and 127.0.0.1, and of its key; each name has one."""
    folder = Path(tempfile.mkdtemp(prefix="backhaul-tests-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    cert, key = folder / f"{name}.crt", folder / f"{name}.key"
    command = ["openssl", "req", "-x509", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    command += ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]  # at once, while RSA takes up to a second
    names = ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    subprocess.run([*command, *names, "-keyout", key, "-out", cert], check=True, capture_output=True)
    return cert, key


def tls_lines() -> str:
    """Return the lines of a server's configuration that name the certificate."""
    cert, key = certificate()
    return f'tls_cert = "{cert}"\ntls_key = "{key}"'

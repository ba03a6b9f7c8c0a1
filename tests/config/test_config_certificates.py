"""Certificates that OpenSSL refuses: one line names file and reason, at the start and in ``check``."""

import contextlib
import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support.config import PORTS, SERVER

from backhaul.config import ConfigError
from backhaul.config.loader import load_usable
from backhaul.errors import TransportError
from backhaul.net.tls import ServerContext, ServerTls

Pair = tuple[Path, Path]


def openssl(folder: Path, command: str) -> None:
    subprocess.run(["openssl", *command.split()], cwd=folder, check=True, capture_output=True)


def self_signed(folder: Path, name: str, key: str) -> Pair:
    openssl(folder, f"req -x509 -newkey {key} -nodes -subj /CN={name} -keyout {name}.key -out {name}.crt")
    return folder / f"{name}.crt", folder / f"{name}.key"


def issued(folder: Path, name: str, digest: str, authority: str) -> Pair:
    openssl(folder, f"req -newkey rsa:2048 -nodes -subj /CN={name} -keyout {name}.key -out {name}.csr")
    openssl(folder, f"x509 -req -{digest} -in {name}.csr -CA {authority}.crt -CAkey {authority}.key -out {name}.crt")
    with (folder / f"{name}.crt").open("a") as chain:
        chain.write((folder / f"{authority}.crt").read_text())
    return folder / f"{name}.crt", folder / f"{name}.key"


def a_small_key(folder: Path) -> Pair:
    return self_signed(folder, "small", "rsa:1024")


def a_small_authority(folder: Path) -> Pair:
    a_small_key(folder)
    return issued(folder, "leaf", "sha256", "small")


def a_weak_signature(folder: Path) -> Pair:
    self_signed(folder, "authority", "rsa:2048")
    return issued(folder, "leaf", "md5", "authority")


def two_pairs(folder: Path) -> Pair:
    return self_signed(folder, "one", "rsa:2048")[0], self_signed(folder, "two", "rsa:2048")[1]


def the_wrong_way_round(folder: Path) -> Pair:
    cert, key = self_signed(folder, "one", "rsa:2048")
    return key, cert


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (a_small_key, "the certificate's key is smaller than OpenSSL allows"),
        (a_small_authority, "an authority's key is smaller than OpenSSL allows"),
        (a_weak_signature, "signed with MD5 or SHA-1"),
        (two_pairs, "the key belongs to another certificate"),
        (the_wrong_way_round, "both must be PEM"),
    ],
)
def test_refusals_of_openssl_are_put_into_words(make: Callable[[Path], Pair], words: str, tmp_path: Path) -> None:
    cert, key = make(tmp_path)
    with contextlib.suppress(ssl.SSLError):
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key)
        pytest.skip("this OpenSSL takes it")  # 3.6 does so with weak signatures
    file = tmp_path / "server.toml"
    file.write_text(SERVER.replace('"tcp"', '"wss"') + f'{PORTS}tls_cert = "{cert}"\ntls_key = "{key}"')
    with pytest.raises(ConfigError) as caught:
        load_usable(file)
    [problem] = caught.value.problems
    assert problem.startswith(f"{file}: server.tls_cert: unusable with tls_key: ")
    assert words in problem
    with pytest.raises(TransportError, match=words):
        ServerContext(ServerTls(str(cert), str(key)))

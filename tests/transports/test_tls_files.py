"""Files of a certificate in every state in which an administrator, or a renewal, may leave them."""

import logging
import os
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support.certificate_files import FORMS, CertificateFiles
from tests.support.net import echo
from tests.support.tunnel import LINES, Lines, Net

from backhaul.net.tls import ServerContext, ServerTls, client_context


@pytest.fixture
def files(tmp_path: Path) -> CertificateFiles:
    return CertificateFiles(tmp_path)


@pytest.mark.parametrize("form", FORMS)
async def test_protected_tunnels_accept_every_form_that_openssl_reads(
    net: Net, files: CertificateFiles, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    files.put(files.cert, FORMS[form](files.cert.read_bytes()))
    monkeypatch.setitem(LINES, "wss", Lines(server=f'tls_cert = "{files.cert}"\ntls_key = "{files.key}"'))
    net.transport = "wss"
    required = 'security = "required"'
    tunnel = await net.tunnel(await net.echo(), server=required, client=required)
    await echo(await tunnel.user(), b"hello")
    assert ServerContext(files.tls).fingerprints == {bytes.fromhex(files.fingerprint)}


def test_the_certificate_is_known_where_the_system_allows_no_tls_1_3(
    files: CertificateFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    def older(authorities: str, *, verify: bool) -> ssl.SSLContext:
        context = client_context(authorities, verify=verify)
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        return context

    monkeypatch.setattr("backhaul.net.tls.client_context", older)
    assert ServerContext(files.tls).fingerprints == {bytes.fromhex(files.fingerprint)}


def damaged(file: Path, good: bytes) -> dict[str, Callable[[], object]]:
    """Return what may happen to a file, by name."""
    return {
        "empty": lambda: file.write_bytes(b""),
        "half": lambda: file.write_bytes(good[: len(good) // 2]),
        "a line less": lambda: file.write_bytes(b"\n".join(good.split(b"\n")[:-2])),
        "binary": lambda: file.write_bytes(bytes(range(256)) * 9),
        "no base64": lambda: file.write_bytes(good.replace(b"A", b"*")),
        "huge": lambda: os.truncate(file, 1 << 40),
        "vanished": file.unlink,
        "a FIFO": lambda: replace(file, lambda: os.mkfifo(file)),
        "a device": lambda: replace(file, lambda: file.symlink_to("/dev/zero")),
        "a directory": lambda: replace(file, file.mkdir),
        "a link to nothing": lambda: replace(file, lambda: file.symlink_to("nothing")),
        "a link to itself": lambda: replace(file, lambda: file.symlink_to(file.name)),
    }


def replace(file: Path, make: Callable[[], None]) -> None:
    file.unlink()
    make()


@pytest.mark.parametrize("which", ["cert", "key"])
@pytest.mark.parametrize("damage", damaged(Path(), b""))
def test_a_damaged_file_changes_nothing_until_it_is_good_again(
    files: CertificateFiles, which: str, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    context, before, file = ServerContext(files.tls), bytes.fromhex(files.fingerprint), getattr(files, which)
    damaged(file, file.read_bytes())[damage]()
    for _ in range(2):
        context.refresh()
    assert context.fingerprints == {before}
    (complaint,) = caplog.messages
    assert complaint.startswith(f"tls_cert {files.cert}: unusable with tls_key {files.key}: ")
    assert "\n" not in complaint
    if file.is_dir():
        file.rmdir()
    file.unlink(missing_ok=True)
    files.issue()
    context.refresh()
    assert context.fingerprints == {before, bytes.fromhex(files.fingerprint)}
    assert caplog.messages[1:] == [f"certificate {files.cert}: usable again and in use"]


def test_a_certificate_that_a_link_names_is_renewed_with_the_link(files: CertificateFiles, tmp_path: Path) -> None:
    live, archive = tmp_path / "live.pem", tmp_path / "archive"
    archive.mkdir()
    live.symlink_to(files.cert)
    context = ServerContext(ServerTls(str(live), str(files.key)))
    files.cert = archive / "2.pem"
    files.issue()
    following = tmp_path / "following"
    following.symlink_to(files.cert)
    following.replace(live)
    context.refresh()
    assert bytes.fromhex(files.fingerprint) in context.fingerprints

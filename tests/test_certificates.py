"""The first certificate of a file, in each form that OpenSSL serves."""

import hashlib
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.support.certificate_files import FORMS

from backhaul.certificates import first_in
from backhaul.doctor.certificates import read
from backhaul.system.certificate import make
from backhaul.system.expiry import Expiry


@pytest.mark.parametrize("form", FORMS)
def test_the_first_certificate_is_the_one_that_clients_see(form: str, tmp_path: Path) -> None:
    made = make(["a.example"], 10, datetime.now(UTC))
    pem = FORMS[form](made.certificate)
    assert hashlib.sha256(first_in(pem)).hexdigest() == made.fingerprint
    (tmp_path / "server.crt").write_bytes(pem)
    assert Expiry(str(tmp_path / "server.crt")).read() == read(first_in(pem)).ends == int(made.until.timestamp())


@pytest.mark.parametrize(
    "text", [b"", b"CERTIFICATE", b"-----BEGIN CERTIFICATE-----\nAA\n-----END X509 CERTIFICATE-----"]
)
def test_other_texts_hold_none(text: bytes) -> None:
    with pytest.raises(ValueError, match="no certificate in PEM"):
        first_in(text)


def test_a_size_of_one_byte() -> None:
    assert first_in(b"-----BEGIN CERTIFICATE-----\nMAIFAAUA\n-----END CERTIFICATE-----") == b"\x30\x02\x05\x00"

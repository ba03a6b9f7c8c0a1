"""The end of a certificate."""

import os

from backhaul.certificates import first_in
from backhaul.reading import read_file


class Expiry:
    """The end of the first certificate in a PEM file, which is the one that clients see."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._stamp: tuple[int, ...] = ()
        self._end: float | None = None

    def read(self) -> float | None:
        """Return the end in seconds since 1970, or None if the file is unusable; may wait for the disk."""
        try:
            found = os.stat(self._path)  # noqa: PTH116 - as cheap as can be, for each scrape
            stamp = (found.st_mtime_ns, found.st_size, found.st_ino)
            if stamp != self._stamp:
                self._end = _end(read_file(self._path))
                self._stamp = stamp
        except (OSError, ValueError):
            return None
        return self._end


def _end(pem: bytes) -> float:
    """Return the end of the first certificate; raise ValueError if there is none."""
    from cryptography import x509  # noqa: PLC0415 - 10 MB, in most processes loaded by the first protected peer

    return x509.load_der_x509_certificate(first_in(pem)).not_valid_after_utc.timestamp()

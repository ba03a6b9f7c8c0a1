"""The root of all errors of the program, and the words of others."""

import errno
import importlib
import os
import pkgutil
from collections.abc import Iterator

import pytest

import backhaul
from backhaul.errors import BackhaulError, TransportError, out_of_memory, reason


def below(base: type[BaseException]) -> Iterator[type[BaseException]]:
    """Yield the classes that derive from ``base``, at any distance."""
    for derived in base.__subclasses__():
        yield derived
        yield from below(derived)


def test_every_error_of_the_program_has_the_same_root() -> None:
    for module in pkgutil.walk_packages(backhaul.__path__, "backhaul."):
        if module.name != "backhaul.__main__":  # importing it runs the program
            importlib.import_module(module.name)
    own = {error for error in below(BaseException) if error.__module__.partition(".")[0] == "backhaul"}
    assert len(own) > 15
    assert not {error for error in own if not issubclass(error, BackhaulError)}


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (
            OSError(errno.EAFNOSUPPORT, os.strerror(errno.EAFNOSUPPORT)),
            "address family not supported by protocol; IPv6 is off on this machine, use an IPv4 address",
        ),
        (ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"), "connection reset by peer"),
        (OSError(errno.ENODEV, "No interface Eth0"), "no interface Eth0"),
        (OSError("Unknown"), "unknown"),
        (OSError(errno.EADDRNOTAVAIL, "IPv6 is switched off here"), "IPv6 is switched off here"),
        (OSError("A socket"), "a socket"),
        (TimeoutError(), ""),
        (TransportError("TLS handshake failed"), "TLS handshake failed"),
    ],
)
def test_the_words_of_an_error_within_a_sentence(error: Exception, text: str) -> None:
    assert reason(error) == text


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (MemoryError(), True),
        (RuntimeError("can't start new thread"), True),
        (ImportError("libcrypto.so.3: failed to map segment from shared object"), True),
        (RuntimeError("set changed size during iteration"), False),
        (ModuleNotFoundError("No module named 'uvloop'"), False),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), False),
    ],
)
def test_errors_for_a_lack_of_memory(error: Exception, *, verdict: bool) -> None:
    assert out_of_memory(error) is verdict

"""TLS connections that read and send many records at once."""

import contextlib
import errno
import os
import socket
import ssl
from typing import TYPE_CHECKING, Final

from .freezing import SMALL, YOUNG
from .options import offer
from .poller import WOULD_BLOCK
from .unix_sockets import WithoutTcp

if TYPE_CHECKING:
    from collections.abc import Callable

    from _typeshed import ReadableBuffer, WriteableBuffer

_RECORD: Final = 1 << 14  # bytes of payload in a TLS record, at most (RFC 8446, 5.1)
_UNEXPECTED_END: Final = "UNEXPECTED_EOF_WHILE_READING"  # of TCP without a close_notify, in OpenSSL since version 3
_TELLS_ENDS: Final = ssl.OPENSSL_VERSION_INFO >= (3, 0)
_CORK: Final = getattr(socket, "TCP_CORK", None)  # Linux


class TlsSocket(ssl.SSLSocket):
    """A TLS connection that reads and sends many records at once, where OpenSSL makes a system call for each."""

    _failed: OSError | None = None  # an error after bytes that had to be returned first, or that OpenSSL forgets
    _ended = False  # without an error
    _young = 0  # bytes that still leave in small records

    def begin_small(self) -> None:
        """Send the first bytes from now on in small records."""
        self._young = YOUNG

    def send(self, data: "ReadableBuffer", flags: int = 0) -> int:
        """Send bytes; all records of one call leave together.

        OpenSSL writes record by record. With TCP_NODELAY the kernel sends each in packets of its own (measured: an
        eighth of the sender's CPU time).
        """
        if self._young > 0:
            return self._send_small(memoryview(data), flags)
        if _CORK is None or memoryview(data).nbytes <= _RECORD:
            return super().send(data, flags)
        offer(self, socket.IPPROTO_TCP, _CORK, 1)
        try:
            return super().send(data, flags)
        finally:
            offer(self, socket.IPPROTO_TCP, _CORK, 0)

    def _send_small(self, data: memoryview, flags: int) -> int:
        """Send bytes as ``send`` does, the first ones in small records."""
        sent = 0
        try:
            while sent < len(data):
                piece = data[sent : sent + SMALL] if self._young > 0 else data[sent:]
                count = super().send(piece, flags)
                self._young -= count
                sent += count
        except WOULD_BLOCK:
            if not sent:
                raise
        return sent

    def recv_into(self, buffer: "WriteableBuffer", nbytes: int | None = None, flags: int = 0) -> int:
        """Read as many received records as ``nbytes`` holds, or one; return the number of bytes, 0 at the end.

        If the buffer holds at least one record, no part of a record stays unread where the poller would not see it.
        Bulk data leaves in few large pieces: two thirds more throughput than record by record. The records are read
        by ``read``, because ``recv_into`` of the standard library takes three functions more for each of them.
        """
        if self._failed:
            raise _again(self._failed)
        view = memoryview(buffer)[: max(nbytes, _RECORD)] if nbytes else memoryview(buffer)
        if flags:
            return super().recv_into(view, len(view), flags)  # raises ValueError
        try:
            count: int = self.read(len(view), view)  # type: ignore[assignment]  # bytes only without a buffer
        except WOULD_BLOCK:
            raise
        except OSError as error:
            self._note(error)
        else:
            return count if count < _RECORD else self._fill(view, count)
        if self._failed:
            raise _again(self._failed)
        return 0

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        """Read one record, for connections with little to read; return no bytes at the end.

        A record of more than ``buflen`` bytes is returned whole, for the same reason.
        """
        if self._failed:
            raise _again(self._failed)
        try:
            data = super().recv(buflen, flags)
            return data + super().recv(rest) if (rest := self.pending()) else data
        except WOULD_BLOCK:
            raise
        except OSError as error:
            self._note(error)
        if self._failed:
            raise _again(self._failed)
        return b""

    def _note(self, error: OSError) -> None:
        """Note a fault, or an end without close_notify, with which many peers end.

        The standard library before Python 3.13 reports an error of the kernel as the end, too, and loses its number.
        Only the first report tells the two apart, in all versions.
        """
        if not isinstance(error, ssl.SSLEOFError):
            self._failed = _again(error)
            return
        self._ended = self._ended or not _TELLS_ENDS or error.reason == _UNEXPECTED_END
        if not self._ended:
            self._failed = ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))

    def _fill(self, view: memoryview, filled: int) -> int:
        """Read into the view while it has room for a record; return how many bytes of it are filled then."""
        read: Callable[[int, memoryview], int] = self.read  # type: ignore[assignment]  # as above
        try:
            while (room := len(view) - filled) >= _RECORD:
                if not (count := read(room, view[filled:])):
                    self._report_again()
                    break
                filled += count
        except WOULD_BLOCK:
            pass
        except OSError as error:
            self._note(error)  # the next read raises it
        return filled

    def _report_again(self) -> None:
        """Let the poller report a close_notify that arrived without the end of TCP, and has been read already."""
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self, socket.SHUT_RD)


class UnixTlsSocket(WithoutTcp, TlsSocket):
    """A TLS connection over a Unix socket."""


def _again(error: OSError) -> OSError:
    """Return a copy without the traceback, which leads to the socket: both would stay until the cycle collector runs.

    It does not know that each holds 35 kB of OpenSSL, and runs late.
    """
    copy = type(error)(*error.args)
    vars(copy).update(vars(error))  # OpenSSL's reason is no argument
    return copy

"""A name server of SRV records on 127.0.0.1, as the test wants it to answer."""

import socket
import threading
from typing import Self

from dns.flags import AA
from dns.message import Message, from_wire, make_response
from dns.rcode import NOERROR, NXDOMAIN, Rcode
from dns.rdatatype import SRV
from dns.resolver import Resolver
from dns.rrset import from_text

from .net import HOST

_DATAGRAM = 4096


class NameServer:
    """Answers questions of names with records, such as "10 0 3080 a.example."; others do not exist."""

    def __init__(self, records: dict[str, list[str]]) -> None:
        self.records = {f"{name}.": lines for name, lines in records.items()}
        self.rcode: Rcode = NOERROR
        self.answers = True
        """False for a name server that is silent."""
        self._sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._sock.bind((HOST, 0))
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def resolver(self) -> Resolver:
        """Return a resolver that asks this name server, and does not wait for long."""
        resolver = Resolver(configure=False)
        resolver.nameservers, resolver.port = [HOST], self._sock.getsockname()[1]
        resolver.lifetime = resolver.timeout = 3.0 if self.answers else 0.1
        return resolver

    def _serve(self) -> None:
        while True:
            question, peer = self._sock.recvfrom(_DATAGRAM)
            if not question:
                return
            if self.answers:
                self._sock.sendto(self._answer(from_wire(question)).to_wire(), peer)

    def _answer(self, question: Message) -> Message:
        answer = make_response(question)
        answer.flags |= AA
        name = answer.question[0].name.to_text()
        if self.rcode != NOERROR or name not in self.records:
            answer.set_rcode(self.rcode or NXDOMAIN)
        elif lines := self.records[name]:
            answer.answer = [from_text(name, 60, "IN", SRV, *lines)]
        return answer

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"", self._sock.getsockname())
        self._thread.join()
        self._sock.close()

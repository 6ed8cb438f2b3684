"""A name server that lies: names that say themselves what they mean, how often and to whom.

    93-184-215-14.example               that address; IPv6 in 32 hexadecimal digits
    first.<address>.<address>.example   another answer each time, the last one from then on
    all.<address>.<address>.example     all of them in one answer
    alias.<address>.example             a CNAME of <address>.example, and what that means
    silent.example                      no answer at all
    garbled.example                     something that is no DNS
    everything else                     no such name

Labels that begin with `tag` mean nothing and tell names apart.
"""

import ipaddress
import socket
import struct
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from tests.safety.network import nameservers

A, CNAME, AAAA = 1, 5, 28
ANSWERED, NO_SUCH_NAME = 0x8180, 0x8183
HEAD = struct.Struct("!HHHHHH")
POINTER = b"\xc0\x0c"
ZONE = "example"
PAUSE_S = 0.2

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


class Resolver:
    """Answers over UDP."""

    def __init__(self) -> None:
        self._asked: Counter[str] = Counter()
        self.over = threading.Event()

    def serve(self, listener: socket.socket) -> None:
        while not self.over.is_set():
            with suppress(TimeoutError):
                question, whom = listener.recvfrom(4096)
                if answer := self._answer(question):
                    listener.sendto(answer, whom)

    def _answer(self, question: bytes) -> bytes:
        labels, kind, end = _question(question)
        if labels[0] == "silent":
            return b""
        if labels[0] == "garbled":
            return question[:2] + b"\xff" * 20
        if kind == A:
            self._asked[".".join(labels)] += 1
        known = _addresses(labels, max(1, self._asked[".".join(labels)]))
        records, owner = [], POINTER
        if labels[0] == "alias":
            owner = _name(labels[1:])
            records.append(_record(POINTER, CNAME, owner))
        wanted = {A: 4, AAAA: 6}.get(kind)
        records += [_record(owner, kind, ip.packed) for ip in known if ip.version == wanted]
        flags = ANSWERED if known else NO_SUCH_NAME
        return (
            question[:2]
            + HEAD.pack(0, flags, 1, len(records), 0, 0)[2:]
            + question[12:end]
            + b"".join(records)
        )


def _question(data: bytes) -> tuple[list[str], int, int]:
    """Labels, type, and where the question ends."""
    labels, at = [], 12
    while data[at]:
        labels.append(data[at + 1 : at + 1 + data[at]].decode("latin-1").lower())
        at += 1 + data[at]
    return labels, int.from_bytes(data[at + 1 : at + 3], "big"), at + 5


def _name(labels: Sequence[str]) -> bytes:
    return b"".join(bytes([len(label)]) + label.encode() for label in labels) + b"\0"


def _record(name: bytes, kind: int, data: bytes) -> bytes:
    return name + struct.pack("!HHIH", kind, 1, 0, len(data)) + data


def _addresses(labels: Sequence[str], time: int) -> list[IPAddress]:
    """What a name means when it is asked for the `time`-th time; nothing for no such name."""
    found = []
    for label in labels:
        with suppress(ValueError):
            found.append(_address(label))
    return found[min(time, len(found)) - 1 :][:1] if labels[0] == "first" else found


def _address(label: str) -> IPAddress:
    if len(label) == 32:
        return ipaddress.IPv6Address(bytes.fromhex(label))
    return ipaddress.IPv4Address(label.replace("-", "."))


def named(*addresses: str, word: str = "", tag: str = "") -> str:
    """The name that means these addresses."""
    found = [ipaddress.ip_address(address) for address in addresses]
    labels = [ip.packed.hex() if ip.version == 6 else str(ip).replace(".", "-") for ip in found]
    return ".".join(part for part in (word, *labels, tag and f"tag{tag}", ZONE) if part)


@contextmanager
def resolver() -> Iterator[None]:
    """Instead of the name servers that this machine asks; only in a network of our own."""
    server, threads = Resolver(), []
    for address in nameservers():
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_DGRAM)
        listener.settimeout(PAUSE_S)
        listener.bind((address, 53))
        threads.append((threading.Thread(target=server.serve, args=(listener,), daemon=True), listener))
        threads[-1][0].start()
    try:
        yield
    finally:
        server.over.set()
        for thread, listener in threads:
            thread.join()
            listener.close()

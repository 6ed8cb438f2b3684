"""The internet as the service sees it: a few public addresses that behave as they like, and all the others,
which nobody may ever reach. Only in a network of our own.
"""

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import trustme

from tests.support.pictures import Serve

PUBLIC_V4, PUBLIC_V6 = "93.184.215.14", "2606:4700::6810:85e5"
PUBLIC = frozenset({PUBLIC_V4, PUBLIC_V6})
PLAIN, SECRET = (80, 8080), (443, 8443)
# Where inside services listen that a request could harm.
INSIDE = (22, 25, 2375, 3306, 5000, 5432, 6379, 8000, 9200, 11211)
HEAD_LIMIT = 65_536
PATIENCE_S = 10


class Internet:
    """`serves` says what the public addresses do with a path; `reached` is who else was connected to."""

    def __init__(self, tls: ssl.SSLContext) -> None:
        self.serves: dict[str, Serve] = {}
        self.reached: list[tuple[str, int]] = []
        self._tls = tls
        self._stop = threading.Event()

    def listen(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._meet, args=(connection,), daemon=True).start()

    def end(self) -> None:
        self._stop.set()

    def _meet(self, connection: socket.socket) -> None:
        address, port = connection.getsockname()[:2]
        address = address.removeprefix("::ffff:")
        with connection, suppress(OSError):
            if address not in PUBLIC or port in INSIDE:
                self.reached.append((address, port))
                return
            connection.settimeout(PATIENCE_S)
            with ExitStack() as stack:
                if port in SECRET:
                    connection = stack.enter_context(self._tls.wrap_socket(connection, server_side=True))
                path = _path(connection)
                serve = self.serves.get(path.rpartition("/")[2])
                if serve:
                    serve(connection, self._stop)


def _path(connection: socket.socket) -> str:
    head = b""
    while b"\r\n\r\n" not in head and len(head) < HEAD_LIMIT:
        received = connection.recv(HEAD_LIMIT)
        if not received:
            break
        head += received
    return head.split(b" ")[1].decode("latin-1").partition("?")[0] if head.count(b" ") > 1 else ""


@contextmanager
def internet(names: tuple[str, ...], authority: Path) -> Iterator[Internet]:
    """Certificates are for `names`, by an authority that is written to this file."""
    issuer = trustme.CA()
    issuer.cert_pem.write_to_path(str(authority))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    issuer.issue_cert(*names).configure_cert(tls)
    there = Internet(tls)
    with ExitStack() as stack:
        threads = []
        for port in (*PLAIN, *SECRET, *INSIDE):
            listener = stack.enter_context(
                socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=256)
            )
            threads.append(threading.Thread(target=there.listen, args=(listener,), daemon=True))
            threads[-1].start()
            stack.callback(listener.shutdown, socket.SHUT_RDWR)
        stack.callback(there.end)
        yield there
    for thread in threads:
        thread.join()

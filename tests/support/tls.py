"""Certificates of a made-up authority, and TLS in front of a server that speaks none itself."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import trustme

from tests.support.front import front

HANDSHAKE = b"\x16"
"""With what TLS begins."""


@dataclass(frozen=True)
class Certificates:
    """Files (PEM): an authority, and what it signed for the host 127.0.0.1 and for a client."""

    ca: Path
    cert: Path
    key: Path
    client_cert: Path
    client_key: Path


def certificates(folder: Path, host: str = "127.0.0.1") -> Certificates:
    """Made anew, in the folder."""
    authority, names = trustme.CA(), ("ca", "cert", "key", "client_cert", "client_key")
    made = Certificates(*(folder / f"{host}-{name}.pem" for name in names))
    authority.cert_pem.write_to_path(str(made.ca))
    for issued, cert, key in (
        (authority.issue_cert(host), made.cert, made.key),
        (authority.issue_cert("client@example.com"), made.client_cert, made.client_key),
    ):
        cert.write_bytes(b"".join(part.bytes() for part in issued.cert_chain_pems))
        issued.private_key_pem.write_to_path(str(key))
    return made


@contextmanager
def tls_front(port: int, made: Certificates, *, asks_clients: bool = False) -> Iterator[int]:
    """The port at which the loopback server on `port` is reached over TLS, and only so."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(made.ca))
    context.load_cert_chain(made.cert, made.key)
    context.verify_mode = ssl.CERT_REQUIRED if asks_clients else ssl.CERT_NONE
    with front(lambda _: port, context) as fronted:
        yield fronted


@contextmanager
def either_front(port: int, made: Certificates) -> Iterator[int]:
    """As `tls_front`; who speaks no TLS reaches the server as well."""
    with (
        tls_front(port, made) as over_tls,
        front(lambda first: over_tls if first[:1] == HANDSHAKE else port) as both,
    ):
        yield both

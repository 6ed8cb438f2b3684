"""Certificates of a made-up authority, and TLS in front of a server that speaks none itself."""

import asyncio
import gc
import ssl
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import trustme

CLOSING_S = 60


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
    loop = asyncio.new_event_loop()
    # The loop would log nothing but refused clients.
    loop.set_exception_handler(lambda *_: None)

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", port)
        try:
            await asyncio.gather(_copy(reader, back), _copy(there, writer))
        finally:
            for end in (writer, back):
                end.transport.abort()

    server = loop.run_until_complete(asyncio.start_server(pass_on, "127.0.0.1", 0, ssl=context))
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        # asyncio leaves the transport of a client that hung up in its greeting to the garbage collector.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            loop.run_until_complete(_end(server))
            loop.close()
            gc.collect()


async def _end(server: asyncio.Server) -> None:
    server.close()
    passing = asyncio.all_tasks() - {asyncio.current_task()}
    for task in passing:
        task.cancel()
    await asyncio.gather(*passing, return_exceptions=True)
    # A client that hung up in the middle of its greeting is noticed some turns of the loop later. Python 3.11
    # waits for no connection in `wait_closed`, later ones do.
    async with asyncio.timeout(CLOSING_S):
        while getattr(server, "_active_count", 0):
            await asyncio.sleep(0)
        await server.wait_closed()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()

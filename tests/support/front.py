"""A TCP front: a port of its own before servers on loopback, for each connection the one that is chosen."""

import asyncio
import gc
import ssl
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

CLOSING_S = 60


@contextmanager
def front(choose: Callable[[bytes], int], context: ssl.SSLContext | None = None) -> Iterator[int]:
    """Its port. `choose` names the server's for a client that sent this first; `context` is for TLS."""
    loop = asyncio.new_event_loop()
    # The loop would log nothing but refused clients.
    loop.set_exception_handler(lambda *_: None)

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = await reader.read(65536)
        there, back = await asyncio.open_connection("127.0.0.1", choose(first))
        back.write(first)
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

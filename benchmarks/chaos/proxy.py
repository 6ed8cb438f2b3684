"""Stands between each worker and the record store, and can go deaf: `python -m benchmarks.chaos.proxy`.

The first argument is the record store's port, the others are ports to listen on. A number on standard input
is the place of such a port: its present connections stay open from then on and carry nothing any more, as
after a firewall forgot them. New ones work.
"""

import asyncio
import contextlib
import sys

CHUNK = 65536


class Gate:
    """One listening port and its connections."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._deaf: list[asyncio.Event] = []

    def cut(self) -> None:
        """Present connections carry nothing any more."""
        for deaf in self._deaf:
            deaf.set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        deaf = asyncio.Event()
        self._deaf.append(deaf)
        with contextlib.suppress(OSError):
            behind = await asyncio.open_connection("127.0.0.1", self._target)
            pumps = [_pump(reader, behind[1], deaf), _pump(behind[0], writer, deaf)]
            _, going = await asyncio.wait(
                [asyncio.ensure_future(pump) for pump in pumps], return_when=asyncio.FIRST_COMPLETED
            )
            for pump in going:
                pump.cancel()
            await asyncio.gather(*going, return_exceptions=True)
            behind[1].close()
        writer.close()
        self._deaf.remove(deaf)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, deaf: asyncio.Event) -> None:
    """Until either side has closed. A deaf connection still notices that, and says nothing of it."""
    with contextlib.suppress(OSError):
        while data := await reader.read(CHUNK):
            if not deaf.is_set():
                writer.write(data)
                await writer.drain()


async def main() -> None:
    target, *ports = map(int, sys.argv[1:])
    gates = [Gate(target) for _ in ports]
    for gate, port in zip(gates, ports, strict=True):
        await asyncio.start_server(gate.serve, "127.0.0.1", port)
    commands = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    while line := await commands.readline():
        gates[int(line)].cut()


if __name__ == "__main__":
    asyncio.run(main())

"""Stands between each worker and the record store, and can go deaf: `python -m benchmarks.chaos.proxy`.

The first argument is the record store's port, the others are ports to listen on. A line on standard input is
a word and the index of such a port. `cut 0`: its present connections stay open but carry nothing any more, as
after a firewall forgot them. `lose 0`: each of them breaks at its next reply, which is lost. New connections
work.
"""

import asyncio
import contextlib
import sys
from dataclasses import dataclass

CHUNK = 65536


@dataclass(eq=False)
class Line:
    """One connection; `state` is what was done to it: nothing, cut or lose."""

    state: str = ""


class Gate:
    """One listening port and its connections."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._lines: list[Line] = []

    def strike(self, state: str) -> None:
        """Present connections are cut, or lose their next reply."""
        for line in self._lines:
            line.state = state

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = Line()
        self._lines.append(line)
        with contextlib.suppress(OSError):
            behind = await asyncio.open_connection("127.0.0.1", self._target)
            pumps = [_pump(reader, behind[1], line), _pump(behind[0], writer, line, replies=True)]
            _, going = await asyncio.wait(
                [asyncio.ensure_future(pump) for pump in pumps], return_when=asyncio.FIRST_COMPLETED
            )
            for pump in going:
                pump.cancel()
            await asyncio.gather(*going, return_exceptions=True)
            behind[1].close()
        writer.close()
        self._lines.remove(line)


async def _pump(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, line: Line, *, replies: bool = False
) -> None:
    """Until either side has closed. A cut connection still notices that, but does not pass it on."""
    with contextlib.suppress(OSError):
        while data := await reader.read(CHUNK):
            if line.state == "lose" and replies:
                return
            if line.state != "cut":
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
        state, place = line.decode().split()
        gates[int(place)].strike(state)


if __name__ == "__main__":
    asyncio.run(main())

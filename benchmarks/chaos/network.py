"""The network before record servers: `python -m benchmarks.chaos.network PORT:SERVER …`.

Each pair is a port to listen on and the server behind it. A line on standard input is a word and the index of
a pair. New connections work after these: `deafen 0`: its present connections stay open but carry nothing any
more, as after a firewall forgot them; `lose 0`: each of them breaks at its next reply, which is lost.
`cut 0`: nothing comes to that server or from it, on present connections and on new ones; `part 0`: nothing of
the other servers and the Sentinels, which connect from FABRIC; `heal 0`: all of it goes on, what was held up
included, as TCP would send it again.
"""

import asyncio
import contextlib
import sys
from dataclasses import dataclass

import uvloop

FABRIC = "127.0.0.2"
CHUNK = 65536


@dataclass(eq=False)
class Line:
    """One connection; it may carry data while `open` is set. `struck` is `deafen` or `lose`, if it was."""

    open: asyncio.Event
    struck: str = ""


class Gate:
    """One listening port and its connections."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._lines = set[Line]()
        self._ways = {True: asyncio.Event(), False: asyncio.Event()}
        self.strike("heal")

    def strike(self, word: str) -> None:
        if word in ("deafen", "lose"):
            for line in self._lines:
                line.struck = word
        else:
            for is_fabric, way in self._ways.items():
                if word == "cut" or (word == "part" and is_fabric):
                    way.clear()
                else:
                    way.set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = Line(self._ways[writer.get_extra_info("peername")[0] == FABRIC])
        self._lines.add(line)
        await line.open.wait()
        with contextlib.suppress(OSError):
            there, back = await asyncio.open_connection("127.0.0.1", self._target)
            pumps = [
                asyncio.create_task(_pump(reader, back, line)),
                asyncio.create_task(_pump(there, writer, line, replies=True)),
            ]
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            # An end is as slow as the data before it.
            await line.open.wait()
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            back.close()
        writer.close()
        self._lines.remove(line)


async def _pump(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, line: Line, *, replies: bool = False
) -> None:
    """Carry data until either side has closed. A deaf connection notices that, but does not pass it on."""
    with contextlib.suppress(OSError):
        while data := await reader.read(CHUNK):
            await line.open.wait()
            if line.struck == "lose" and replies:
                return
            if line.struck != "deafen":
                writer.write(data)
                await writer.drain()


async def main() -> None:
    gates = []
    for port, server in (map(int, pair.split(":")) for pair in sys.argv[1:]):
        gates.append(Gate(server))
        await asyncio.start_server(gates[-1].serve, "127.0.0.1", port)
    commands = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    while line := await commands.readline():
        word, place = line.decode().split()
        gates[int(place)].strike(word)


if __name__ == "__main__":
    uvloop.run(main())

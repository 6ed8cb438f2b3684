"""The network between record servers and the rest: `python -m benchmarks.failover.network PORT:SERVER …`.

A line on standard input is a word and the index of such a pair. `move 3 6401`: its next connections lead to
that server, and those it has stay, as with a virtual address. `cut 0`: nothing comes to that server or from
it any more, on present connections and on new ones; `part 0`: nothing of the other servers and the Sentinels,
which connect from FABRIC; `heal 0`: all of it goes on, what was held up included, as TCP would send it again.
"""

import asyncio
import contextlib
import sys

import uvloop

FABRIC = "127.0.0.2"
CHUNK = 65536


class Gate:
    """One listening port. Where it was struck, data waits until it heals."""

    def __init__(self, target: int) -> None:
        self.target = target
        self._ways = {True: asyncio.Event(), False: asyncio.Event()}
        self.strike("heal")

    def strike(self, word: str) -> None:
        for is_fabric, way in self._ways.items():
            if word == "cut" or (word == "part" and is_fabric):
                way.clear()
            else:
                way.set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        way = self._ways[writer.get_extra_info("peername")[0] == FABRIC]
        await way.wait()
        with contextlib.suppress(OSError):
            there, back = await asyncio.open_connection("127.0.0.1", self.target)
            pumps = [asyncio.create_task(_pump(*pair, way)) for pair in ((reader, back), (there, writer))]
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            # An end is as slow as the data before it.
            await way.wait()
            for pump in pumps:
                pump.cancel()
            back.close()
        writer.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: asyncio.Event) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(CHUNK):
            await way.wait()
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
        word, place, *target = line.decode().split()
        if target:
            gates[int(place)].target = int(target[0])
        else:
            gates[int(place)].strike(word)


if __name__ == "__main__":
    uvloop.run(main())

"""The webhook receiver of the bursts' caller: `python -m benchmarks.chaos.receiver FILE PORT`.

It takes every call, and writes each down as `benchmarks.webhooks.receivers` does.
"""

import asyncio
import random
import sys
from pathlib import Path

from benchmarks.webhooks.receivers import Receiver

HOST = "127.0.0.11"


async def main(file: Path, port: int) -> None:
    with file.open("a", encoding="utf-8") as out:
        await Receiver("steady", port, random.Random(), out, HOST).serve()  # noqa: S311 - no secret


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))

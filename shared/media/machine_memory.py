"""Bounds the memory of the picture decoders that all processes of a machine have together."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from tempfile import gettempdir

AT_ONCE = 2
"""Large pictures that are decoded on a machine at the same time."""
LARGE = 100 * 2**20
"""Bytes for decoding a picture beyond which it counts as large."""
_turns = count()


@contextmanager
def reserved(memory: int) -> Iterator[None]:
    """Wait for one of the machine's places for large pictures if decoding takes so much `memory`.

    A place is a locked file, so the system frees that of a process that dies.
    """
    if memory <= LARGE:
        yield
        return
    folder = Path(gettempdir(), f"sightline-decoders-{os.getuid()}")
    folder.mkdir(mode=0o700, exist_ok=True)
    with (folder / str(next(_turns) % AT_ONCE)).open("a") as place:
        fcntl.flock(place, fcntl.LOCK_EX)
        yield

"""Bounds the memory of the picture decoders that all processes of a machine have together."""

import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from itertools import count
from pathlib import Path
from tempfile import gettempdir

AT_ONCE = 2
"""Large pictures that are decoded on a machine at the same time."""
LARGE = 100 * 2**20
"""Bytes for decoding a picture beyond which it counts as large."""
_turns = count()
_warn = cache(logging.getLogger("shared.media").warning)


@contextmanager
def reserved(memory: int) -> Iterator[None]:
    """Wait for one of the machine's places for large pictures if decoding takes so much `memory`.

    A place is a locked file, so the system frees that of a process that dies. Without one, no picture waits.
    """
    with ExitStack() as held:
        if memory > LARGE:
            try:
                folder = Path(gettempdir(), f"sightline-decoders-{os.getuid()}")
                folder.mkdir(mode=0o700, exist_ok=True)
                if folder.lstat().st_uid != os.getuid():
                    raise PermissionError(f"{folder} belongs to another user")
                place = held.enter_context((folder / str(next(_turns) % AT_ONCE)).open("a"))
                fcntl.flock(place, fcntl.LOCK_EX)
            except OSError as error:
                _warn(f"large pictures do not wait for each other: {error}")
        yield

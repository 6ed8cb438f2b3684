"""Bounds the memory of the picture decoders that all processes of a machine have together."""

import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import count
from pathlib import Path
from tempfile import gettempdir

log = logging.getLogger("shared.media")
AT_ONCE = 2
"""Large pictures that are decoded on a machine at the same time."""
LARGE = 100 * 2**20
"""Bytes for decoding a picture beyond which it counts as large."""
_turns = count()


@contextmanager
def reserved(memory: int) -> Iterator[None]:
    """Wait for one of the machine's places for large pictures if decoding takes so much `memory`.

    A place is a locked file, so the system frees that of a process that dies. Where the files cannot be
    used, only the places of this process count.
    """
    with ExitStack() as stack:
        if memory > LARGE:
            _lock_one(stack)
        yield


def _lock_one(stack: ExitStack) -> None:
    """Lock the first free place, or wait for one of them: each time for another."""
    turn = next(_turns)
    try:
        folder = _folder()
        files = [folder / str((turn + at) % AT_ONCE) for at in range(AT_ONCE)]
        places = [stack.enter_context(file.open("a")) for file in files]
    except OSError as error:
        log.warning("large pictures of other processes are not counted: %s", error)
        return
    for place in places:
        with suppress(BlockingIOError):
            fcntl.flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
    fcntl.flock(places[0], fcntl.LOCK_EX)


def _folder() -> Path:
    """Return the folder of the places. Raise OSError if it is another user's, who might keep it locked."""
    folder = Path(gettempdir(), f"sightline-decoders-{os.getuid()}")
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        raise PermissionError(f"{folder} belongs to another user")
    return folder

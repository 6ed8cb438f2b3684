"""The record store in a data folder of `sightline run`, while that does not run."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shared.errors import Unavailable
from shared.store.server import make_room, probe
from sightline.exits import CommandError, Exit
from sightline.serving.folder import DataFolder
from sightline.serving.plan import own_server
from sightline.serving.server import ROOM, find_binary

PAUSE_S, PATIENCE_S = 0.1, 60.0


@contextmanager
def record_server(folder: Path) -> Iterator[str]:
    """The URL of a server for the folder's records. Raises CommandError, also where a service uses it."""
    data = DataFolder(folder)
    binary, lock_fd = find_binary(), data.lock(0)
    own = own_server(binary, data, lock_fd)
    process = own.command.program()
    # It holds the folder's lock until its own end.
    os.close(lock_fd)
    try:
        deadline = time.monotonic() + PATIENCE_S
        while not _answers(own.url):
            if process.poll() is not None or time.monotonic() > deadline:
                raise CommandError(Exit.REDIS, f"The record server does not start: see {own.command.log}.")
            time.sleep(PAUSE_S)
        make_room(own.url, ROOM)
        yield own.url
    finally:
        process.terminate()
        process.wait()


def _answers(url: str) -> bool:
    try:
        return bool(probe(url))
    except Unavailable:
        return False

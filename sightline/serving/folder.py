"""The data folder: one service at a time."""

import fcntl
import os
import time
from pathlib import Path

from sightline.exits import CommandError, Exit


def shown(path: Path) -> str:
    """A path as a person in this working folder would type it."""
    return os.path.relpath(path)


class DataFolder:
    """Holds `redis/`, `blobs/`, `logs/` and a lock.

    The lock's descriptor is handed on to the record server, so the folder stays locked for as long as either
    that server or the supervisor lives: two servers never write one append-only file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self.redis = self.path / "redis"
        self.blobs = self.path / "blobs"
        self.logs = self.path / "logs"

    def lock(self, wait_s: float) -> int:
        """Make the folders and lock them; the lock's descriptor.

        Where the holder was killed, its processes are being ended: that is waited for. Raises CommandError.
        """
        try:
            for folder in (self.redis, self.blobs, self.logs):
                folder.mkdir(parents=True, exist_ok=True)
            fd = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise self._unwritable(error) from None
        deadline = time.monotonic() + wait_s
        while not _try_lock(fd):
            holder = os.pread(fd, 20, 0).decode().strip() or "0"
            if _lives(int(holder)) or time.monotonic() > deadline:
                os.close(fd)
                raise CommandError(
                    Exit.DATA,
                    f"The data folder {self.path} is in use by process {holder}: stop that one first, or "
                    "choose another folder (make run DATA=other, sightline run --data other).",
                )
            time.sleep(0.1)
        try:
            os.pwrite(fd, f"{os.getpid():<20}".encode(), 0)
        except OSError as error:
            os.close(fd)
            raise self._unwritable(error) from None
        return fd

    def _unwritable(self, error: OSError) -> CommandError:
        return CommandError(Exit.DATA, f"The data folder {self.path} cannot be written: {error.strerror}.")


def _try_lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return pid > 0

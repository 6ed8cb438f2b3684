"""The data folder of `sightline run`, and its lock, for one service at a time."""

import contextlib
import os
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from filelock import lock_descriptor

from sightline.exits import CommandError, Exit

PID_WIDTH = 20
PRIVATE, OTHERS = 0o700, 0o077
"""The folder's rights, and those of other users, who may read no jobs, pictures and secrets."""
TRIAL = 2**16
"""Bytes of a trial write: a start writes a few thousand at once, to its logs and to the records."""


def display_path(path: Path) -> str:
    """Return a path as a person in this working folder would type it: the shorter of both forms."""
    return min(os.path.relpath(path), str(path.resolve()), key=len)


def try_writing(folder: Path) -> None:
    """Raises OSError. File modes alone do not show that a disk is full or mounted read-only."""
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(bytes(TRIAL))
        file.flush()


class DataFolder:
    """Holds `redis/`, `blobs/`, `logs/`, the models file of `sightline run MODEL`, and a lock.

    The record server inherits the lock's descriptor, so the folder stays locked while that server or the
    supervisor lives: two servers never write one append-only file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self.redis = self.path / "redis"
        self.blobs = self.path / "blobs"
        self.logs = self.path / "logs"
        self.models_file = self.path / "models.toml"

    def lock(self, wait_s: float) -> int:
        """Make the folders and lock them; return the lock's descriptor.

        If the holder was killed, this waits for its processes to end. Raises CommandError.
        """
        with self._writing():
            self._make()
            fd = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            self._take(fd, wait_s)
            with self._writing():
                os.pwrite(fd, f"{os.getpid():<{PID_WIDTH}}".encode(), 0)
                try_writing(self.path)
        except CommandError:
            os.close(fd)
            raise
        return fd

    def _make(self) -> None:
        new = not self.path.exists()
        for folder in (self.redis, self.blobs, self.logs, self.path):
            folder.mkdir(parents=True, exist_ok=True)
            # A mount may be somebody else's; a folder for all, as /tmp, stays one.
            with contextlib.suppress(PermissionError):
                if not folder.stat().st_mode & stat.S_ISVTX:
                    folder.chmod(PRIVATE)
        if new:
            # In a checkout, callers' pictures must not be committed.
            (self.path / ".gitignore").write_text("*\n")

    def _take(self, fd: int, wait_s: float) -> None:
        deadline = time.monotonic() + wait_s
        while not lock_descriptor(fd, blocking=False):
            holder = os.pread(fd, PID_WIDTH, 0).decode().strip() or "0"
            if psutil.pid_exists(int(holder)) or time.monotonic() > deadline:
                raise CommandError(
                    Exit.DATA,
                    f"The data folder {self.path} is in use by process {holder}: stop that one first, or "
                    "choose another folder (make run DATA=other, sightline run --data other).",
                )
            time.sleep(0.1)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            message = f"The data folder {self.path} cannot be written: {error.strerror}."
            raise CommandError(Exit.DATA, message) from None

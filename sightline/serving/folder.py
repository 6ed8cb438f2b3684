"""The data folder of `sightline run`: its lock, for one service at a time, and a watch for its loss."""

import asyncio
import contextlib
import os
import secrets
import stat
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sightline.exits import CommandError, Exit
from sightline.file_lock import try_lock

LOOK_S = 2.0
PID_WIDTH = 20
PRIVATE, OTHERS = 0o700, 0o077
"""Of the folder, and those of other users: jobs, pictures and webhooks' secrets are not for them."""
TRIAL = 2**16
"""Bytes of a trial write: a start writes a few thousand at once, to its logs and to the records."""


def display_path(path: Path) -> str:
    """A path as a person in this working folder would type it: the shorter of both forms."""
    return min(os.path.relpath(path), str(path.resolve()), key=len)


def typed_path(text: str) -> Path:
    """A folder as a person types it, with `~` expanded: not every shell expands it after `DATA=`."""
    return Path(os.path.expanduser(text))  # noqa: PTH111 - what nobody's home is stays as it is, as in a shell


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
        self._lock = self.path / "lock"
        # A process id alone may also be another process's, in another container.
        self._mark = f"{os.getpid():<{PID_WIDTH}}{secrets.token_hex(8)}".encode()

    def lock(self, wait_s: float) -> int:
        """Make the folders and lock them; the lock's descriptor.

        Where the holder was killed, waits for its processes to end. Raises CommandError.
        """
        new = not self.path.exists()
        with self._writing():
            for folder in (self.redis, self.blobs, self.logs):
                folder.mkdir(parents=True, exist_ok=True)
                _close_to_others(folder)
            # It may be a folder of somebody's own, whose other files are not ours to change, or one for all.
            with contextlib.suppress(PermissionError):
                if not self.path.stat().st_mode & stat.S_ISVTX:
                    self.path.chmod(PRIVATE)
            if new:
                # In a checkout, callers' pictures must not be committed.
                (self.path / ".gitignore").write_text("*\n")
            fd = os.open(self._lock, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            self._take(fd, wait_s)
            with self._writing():
                os.pwrite(fd, self._mark, 0)
                try_writing(self.path)
        except CommandError:
            os.close(fd)
            raise
        return fd

    def holds(self) -> bool:
        """Whether the path still leads to the folder that was locked: not deleted, moved or unmounted.

        The lock cannot tell: it is on the open file, whatever becomes of its name. Nor can the inode number,
        which some network file systems change.
        """
        try:
            return self._lock.read_bytes() == self._mark
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError:
            # A disk that cannot be read for a moment does not mean another folder.
            return True

    def _take(self, fd: int, wait_s: float) -> None:
        deadline = time.monotonic() + wait_s
        while not try_lock(fd):
            holder = os.pread(fd, PID_WIDTH, 0).decode().strip() or "0"
            if _lives(int(holder)) or time.monotonic() > deadline:
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


class DataFolderWatch:
    """Checks that the data folder is still in place; construct it in the event loop that uses it.

    On a disk that hangs a check may never end. Each runs in a daemon thread that nobody waits for:
    `asyncio.run` would wait at its end for threads of `asyncio.to_thread`.
    """

    def __init__(self, data: DataFolder) -> None:
        self._data = data
        self._loop = asyncio.get_running_loop()
        self._answer: asyncio.Future[bool] = self._loop.create_future()
        self._answer.set_result(True)

    async def until_lost(self) -> None:
        """Return once the folder is lost; checks every LOOK_S."""
        while await self.holds():  # noqa: ASYNC110 - nobody tells of it
            await asyncio.sleep(LOOK_S)

    async def holds(self) -> bool:
        """Whether the folder is in place, within twice LOOK_S; true while a check has not ended."""
        # A check that began earlier may be out of date.
        await asyncio.wait((self._answer,), timeout=LOOK_S)
        if self._answer.done():
            self._answer = self._begin()
            await asyncio.wait((self._answer,), timeout=LOOK_S)
        return not self._answer.done() or self._answer.result()

    def _begin(self) -> asyncio.Future[bool]:
        answer = self._loop.create_future()
        try:
            threading.Thread(target=self._check, args=(answer,), daemon=True).start()
        except RuntimeError:
            # The system has no thread left, which says nothing of the folder.
            answer.set_result(True)
        return answer

    def _check(self, answer: asyncio.Future[bool]) -> None:
        holds = self._data.holds()
        # The loop is closed if the service has ended meanwhile.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(answer.set_result, holds)


def _close_to_others(folder: Path) -> None:
    """Keep other users out, also of what an earlier version left open to them."""
    if folder.stat().st_mode & OTHERS:
        for path in (folder, *folder.rglob("*")):
            # A mount may be somebody else's; a file may be deleted meanwhile.
            with contextlib.suppress(PermissionError, FileNotFoundError):
                if not path.is_symlink():
                    path.chmod(path.stat().st_mode & ~OTHERS)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return pid > 0

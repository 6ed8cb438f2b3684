"""Where pictures, sounds and files lie: under their sha256, in a folder or an object store.

Digests are internal: callers never see or send one. Writing the same bytes twice is harmless.

How are bytes hashed while they still come? `staged.py` (`Staged`).
What differs in an object store? `bucket.py` (`Bucket`).
What if the store is full or out of reach? `errors.py` (`BlobsUnavailable`).
"""

import asyncio
import hashlib
import logging
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import partial
from typing import BinaryIO, Literal, ParamSpec, TypeVar

import obstore
from obstore.exceptions import BaseError

from shared.blobs.bucket import Bucket
from shared.blobs.errors import BlobMissingError as BlobMissingError
from shared.blobs.errors import BlobsUnavailable as BlobsUnavailable
from shared.blobs.errors import finding, keeping
from shared.blobs.folder import Folder
from shared.blobs.staged import Staged as Staged
from shared.settings import BlobSettings

log = logging.getLogger("shared.blobs")
P = ParamSpec("P")
T = TypeVar("T")
Reach = Literal["reachable", "read_only", "unreachable"]
OWNER = "record-store"
"""The object with the id of the record store whose records say which blobs are needed."""
HEAD = 1024
"""Bytes that say what a file is."""
AT_ONCE = 32
"""Asynchronous calls that are made at once. A store that hangs holds up nothing else of a process."""
REACHED_S = 2.0
"""A store silent for this long counts as out of reach in the health of a process."""
HEARD_S = 0.1
"""In this time a process that stood still itself gets the answer that the store gave meanwhile."""
ASKED_AGAIN_S = 5.0
"""Pause between looks: any probe or stranger may ask for a process's health, and each look costs money."""
REFUSED_S = 60.0
"""How long a failed write counts as the store's state, unless one succeeded since: looks never write."""


def digest(data: bytes) -> str:
    """The name of some bytes: their sha256, 64 hex digits."""
    return hashlib.sha256(data).hexdigest()


def unused_name() -> str:
    """A name that no bytes have: a blob under it is collected some time, since nobody needs it."""
    return secrets.token_hex(32)


class Blobs:
    def __init__(self, settings: BlobSettings) -> None:
        """Raises SettingsError."""
        folder = settings.folder
        self._place: Folder | Bucket = Bucket(settings.url) if folder is None else Folder(folder)
        self._store = self._place.store
        self._threads = ThreadPoolExecutor(AT_ONCE, "blobs")
        # Of its own: behind slow uploads a look would be late, and the store taken to be away.
        self._looking = ThreadPoolExecutor(1, "look")
        self._asked = 0.0
        self._look: asyncio.Future[Reach] | None = None
        self._refused = -REFUSED_S

    @property
    def kind(self) -> str:
        """What the bytes lie in: folder, s3, gs or az."""
        return self._place.kind

    async def reach(self) -> Reach:
        """Whether we can read and write the store, or could a moment ago.

        While a look hangs, no other is begun.
        """
        if self._look is None or (self._look.done() and time.monotonic() - self._asked >= ASKED_AGAIN_S):
            self._asked = time.monotonic()
            self._look = asyncio.get_running_loop().run_in_executor(self._looking, self.probe)
        look = self._look
        if not look.done():
            await asyncio.wait({look}, timeout=max(self._asked + REACHED_S - time.monotonic(), 0))
            await asyncio.wait({look}, timeout=HEARD_S)
        state = look.result() if look.done() else "unreachable"
        refused = state == "reachable" and time.monotonic() - self._refused < REFUSED_S
        return "read_only" if refused else state

    def probe(self) -> Reach:
        """As `reach`, for callers that may wait for half a minute; ignores writes that failed."""
        try:
            return "reachable" if self._place.probe() else "read_only"
        except (BaseError, OSError):
            # The outage explains a failed write, which then says nothing about the store once it is back.
            self._refused = -REFUSED_S
            return "unreachable"

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Remembers whether the write succeeded. Raises BlobsUnavailable."""
        try:
            yield
        except BlobsUnavailable:
            self._refused = time.monotonic()
            raise
        self._refused = -REFUSED_S

    def read(self, name: str) -> bytes:
        """Raises BlobMissingError, BlobsUnavailable."""
        with finding(name):
            return bytes(obstore.get(self._store, _path(name)).bytes())

    def size(self, name: str) -> int:
        """How many bytes lie under a name. Raises BlobMissingError, BlobsUnavailable."""
        with finding(name):
            return self._place.size(_path(name))

    def check_mounted(self) -> None:
        """Called where blobs are missing. Raises BlobsUnavailable if none can ever have been here."""
        with finding("all"):
            unmounted = self._place.unmounted()
        if unmounted:
            log.error("the folder of pictures and files is empty: is it mounted?")
            raise BlobsUnavailable("read")

    def open(self, name: str) -> BinaryIO:
        """To read in pieces. Raises BlobMissingError, BlobsUnavailable."""
        return self._place.open(_path(name))

    def head(self, name: str) -> bytes:
        """How the bytes begin. Raises BlobMissingError, BlobsUnavailable."""
        with self.open(name) as file, finding(name):
            return file.read(HEAD)

    async def stream(self, name: str) -> AsyncIterator[bytes]:
        """The bytes in pieces. Raises BlobMissingError, BlobsUnavailable before the first, or between two."""
        return self._pieces(await self.in_thread(self.open, name))

    async def _pieces(self, file: BinaryIO) -> AsyncIterator[bytes]:
        try:
            while piece := await self.in_thread(file.read, self._place.piece):
                yield piece
        finally:
            # A reader may leave in the middle of a read, which closing waits for.
            self._threads.submit(file.close)

    def stage(self) -> Staged:
        """A new file to write into."""
        return self._place.stage(_path(unused_name()))

    def adopt(self, staged: Staged) -> None:
        """Give what was staged the name of its bytes. Raises BlobsUnavailable, also where it was deleted."""
        staged.finish()
        try:
            with self._writing():
                self._place.adopt(staged, _path(staged.digest))
        except BlobMissingError:
            log.warning("an upload's file was deleted before it was complete")
            raise BlobsUnavailable("kept") from None
        staged.file.close()

    def rename(self, name: str, other: str) -> None:
        """Raises BlobMissingError, BlobsUnavailable.

        In an object store that is a copy and a deletion: a process that dies between them leaves both.
        """
        with finding(name):
            obstore.rename(self._store, _path(name), _path(other))

    def write(self, name: str, data: bytes) -> None:
        """Raises BlobsUnavailable."""
        with self._writing(), keeping():
            obstore.put(self._store, _path(name), data)

    def set_aside(self, name: str) -> str:
        """Take bytes away so that they can be put back (`rename`). Raises BlobMissingError, BlobsUnavailable.

        Their age begins anew, so that nobody collects them meanwhile.
        """
        aside = unused_name()
        self._place.refresh(_path(name))
        self.rename(name, aside)
        return aside

    def older(self, age_s: float, count: int) -> Iterator[list[str]]:
        """The names of what was written that long ago, out of `count` at a time. Raises BlobsUnavailable.

        By the clock that dated them: this machine's may be another.
        """
        with finding("all"):
            before = self._place.now(_path(unused_name())) - timedelta(seconds=age_s)
            for chunk in obstore.list(self._store, chunk_size=count):
                old = [entry["path"] for entry in chunk if entry["last_modified"] < before]
                yield [path.rpartition("/")[2] for path in old if path != OWNER]

    def owner(self) -> str | None:
        """The id of the record store that these blobs belong to. Raises BlobsUnavailable."""
        with suppress(BlobMissingError), finding(OWNER):
            return bytes(obstore.get(self._store, OWNER).bytes()).decode(errors="replace")
        return None

    def assign(self, store: str) -> None:
        """Let these blobs belong to the record store of that id. Raises BlobsUnavailable."""
        with self._writing(), keeping():
            obstore.put(self._store, OWNER, store.encode())

    def sweep(self, age_s: float) -> int:
        """Delete half-written files of that age; returns how many. Raises BlobsUnavailable."""
        return self._place.sweep(age_s)

    def delete(self, name: str) -> None:
        """Harmless where the blob is gone already. Raises BlobsUnavailable."""
        with suppress(BlobMissingError), finding(name):
            obstore.delete(self._store, _path(name))

    async def in_thread(self, call: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
        """Run what waits for the store in a thread for which an ending process waits. Raises as `call` does.

        The client's own thread for asynchronous calls aborts a Python that ends meanwhile.
        """
        return await asyncio.get_running_loop().run_in_executor(
            self._threads, partial(call, *arguments, **named)
        )


def _path(name: str) -> str:
    return f"{name[:2]}/{name}"

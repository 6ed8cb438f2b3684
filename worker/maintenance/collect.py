"""The pass that deletes pictures nobody needs any more."""

import time
from collections.abc import Iterator
from contextlib import suppress

from shared.blobs import BlobMissingError, Blobs
from shared.store.admission import HOLD_S
from shared.store.audit import doom
from shared.store.jobs import deleted
from shared.store.script import Store

PAUSE_S = 600.0
"""Between two walks over all pictures."""
AT_ONCE = 200


class Collection:
    """One walk over the pictures after the other. Pictures younger than an upload's hold are left alone."""

    def __init__(self, store: Store, blobs: Blobs) -> None:
        self._store = store
        self._blobs = blobs
        self._walk: Iterator[list[str]] = iter(())
        self._next = 0.0

    def collect(self) -> int:
        """Look at the next pictures; how many were deleted."""
        names = next(self._walk, None)
        if names is None:
            if time.monotonic() < self._next:
                return 0
            self._next = time.monotonic() + PAUSE_S
            self._walk = self._blobs.older(HOLD_S, AT_ONCE)
            return 0
        return sum(self._deleted(name) for name in names)

    def _deleted(self, name: str) -> bool:
        """One at a time: a mark is short, so that an upload need not wait for long."""
        if not self._store.run(doom([name])):
            return False
        with suppress(BlobMissingError):
            data = self._blobs.read(name)
            self._blobs.delete(name)
            if self._store.run(deleted([name])):
                # This process stood still for longer than the mark: somebody relies on the picture now.
                self._blobs.write(name, data)
                return False
        return True

"""The pass that deletes stored bytes that no record needs, in step with the records that say so."""

import time
from collections.abc import Iterator
from contextlib import suppress

from shared.blobs import BlobMissingError, Blobs, BlobsUnavailable
from shared.store.files import HOLD_S, deleted, mark_deleted
from shared.store.script import Store

PAUSE_S = 600.0
"""Seconds between two walks."""
NAMES_EACH = 200


class BlobCollector:
    """Walks over all stored bytes again and again, except those younger than an upload's hold."""

    def __init__(self, store: Store, blobs: Blobs) -> None:
        self._store = store
        self._blobs = blobs
        self._walk: Iterator[list[str]] = iter(())
        self._next = 0.0

    def collect(self) -> int:
        """Look at the next names; returns how many were deleted."""
        names = next(self._walk, None)
        if names is None:
            if time.monotonic() < self._next:
                return 0
            self._next = time.monotonic() + PAUSE_S
            self._walk = self._blobs.older(HOLD_S, NAMES_EACH)
            return self._blobs.sweep(HOLD_S)
        return sum(self._delete(name) for name in names)

    def _delete(self, name: str) -> bool:
        """One at a time, so that an upload does not wait long for the mark to go."""
        return bool(self._store.run(mark_deleted([name]))) and delete_blob(self._store, self._blobs, name)


def delete_blob(store: Store, blobs: Blobs, name: str) -> bool:
    """Delete bytes that are marked for it; False if they were gone, or a job relies on them again.

    The latter happens if this process was paused for longer than the mark for which uploads wait. If the
    blob store cannot be reached, the bytes are left to be collected.
    """
    with suppress(BlobMissingError, BlobsUnavailable):
        aside = blobs.set_aside(name)
        if store.run(deleted([name])):
            blobs.rename(aside, name)
            return False
        blobs.delete(aside)
        return True
    return False

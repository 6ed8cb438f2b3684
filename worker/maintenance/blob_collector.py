"""The pass that deletes stored bytes that no record needs, in step with the records that say so."""

import logging
import time
from collections.abc import Iterator

from shared.blobs import Blobs
from shared.metrics.courier_counters import UPKEEP
from shared.store.files import HOLD_S, delete_blob, identity, mark_deleted
from shared.store.script import Store

log = logging.getLogger("worker.maintenance")
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
            if not self._owns():
                log.error("the blob store belongs to another record store: nothing is deleted")
                UPKEEP.labels("foreign").inc()
                return 0
            self._walk = self._blobs.older(HOLD_S, NAMES_EACH)
            return self._blobs.sweep(HOLD_S)
        return sum(self._delete(name) for name in names)

    def _owns(self) -> bool:
        """Whether the blobs are of this record store: others may need what nobody here does.

        The first that looks has them; of two at the same time the last one to write.
        """
        id = self._store.run(identity())
        if self._blobs.owner() is None:
            self._blobs.assign(id)
        return self._blobs.owner() == id

    def _delete(self, name: str) -> bool:
        """One at a time, so that an upload does not wait long for the mark to go."""
        return bool(self._store.run(mark_deleted([name]))) and delete_blob(self._store, self._blobs, name)

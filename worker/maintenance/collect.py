"""The pass that deletes pictures nobody needs any more."""

import time
from collections.abc import Iterator

from shared.blobs import Blobs
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
        orphans = self._store.run(doom(names)) if names else []
        if orphans:
            self._blobs.delete(orphans)
            self._store.run(deleted(orphans))
        return len(orphans)

"""The pass that trusts nothing: it walks over every record and mends what should not be.

What it finds is a fault of ours, or of a store that was cut off in mid-write: it is counted and logged.
"""

import logging

from shared.settings import Settings
from shared.store.audit import audit, scan
from shared.store.script import Store

log = logging.getLogger(__name__)
KEYS = 200
"""Looked at in one round: a hundred thousand keys take some minutes."""


class Audit:
    """One walk after the other, `KEYS` a round."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self._settings = settings
        self._store = store
        self._cursor = 0

    def walk(self) -> int:
        """Look at the next keys; how much was mended."""
        self._cursor, names = scan(self._store, self._cursor, KEYS)
        found = self._store.run(audit(self._settings, names)) if names else {}
        if found:
            log.error("the audit mended %s", found)
        return sum(found.values())

"""The pass that trusts nothing: it walks over every record and mends what should not be.

What it mends is a fault of ours, or of a store that was cut off in mid-write: it is counted and logged. Keys
that it does not know are left alone: a newer version, or somebody else, wrote them.
"""

import logging
from collections.abc import Sequence

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
        self._told: set[str] = set()

    def walk(self) -> int:
        """Look at the next keys; how much was mended."""
        self._cursor, names = scan(self._store, self._cursor, KEYS)
        if not names:
            return 0
        mended, strange = self._store.run(audit(self._settings, names))
        if mended:
            log.error("the audit mended %s", mended)
        self._tell(strange)
        return sum(mended.values())

    def _tell(self, strange: Sequence[str]) -> None:
        """Once in a process: they stay."""
        for beginning in strange:
            if beginning not in self._told:
                self._told.add(beginning)
                log.warning("the audit knows no keys that begin with %s, and leaves them", beginning)

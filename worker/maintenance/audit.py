"""The pass that trusts nothing: it walks over every record and mends what is inconsistent.

Whatever it mends is a fault of ours, or of a store that was cut off while writing; it is counted and logged.
Keys that it does not know are left alone: a newer version, or another program, wrote them.
"""

import logging
from collections.abc import Sequence

from shared.settings import Settings
from shared.store.audit import audit, scan
from shared.store.script import Store

log = logging.getLogger(__name__)
KEYS = 200
"""Keys looked at in one round; a hundred thousand take some minutes."""


class Audit:
    """Walks over all keys again and again, `KEYS` in a round."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self._settings = settings
        self._store = store
        self._cursor = 0
        self._told: set[str] = set()

    def walk(self) -> int:
        """Look at the next keys; returns how many records were mended."""
        self._cursor, names = scan(self._store, self._cursor, KEYS)
        if not names:
            return 0
        mended, strange = self._store.run(audit(self._settings, names))
        if mended:
            log.error("the audit mended %s", mended)
        self._tell(strange)
        return sum(mended.values())

    def _tell(self, strange: Sequence[str]) -> None:
        """Log unknown keys once per process, because they stay."""
        for beginning in strange:
            if beginning not in self._told:
                self._told.add(beginning)
                log.warning("the audit knows no keys that begin with %s, and leaves them", beginning)

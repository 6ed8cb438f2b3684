"""The memory limit of what is kept for reuse; when it is full, the least recently used item goes first."""

from collections.abc import Collection, Iterable
from typing import Protocol

from worker.engines.continuous.ration import Ration


class LedgerEntry(Protocol):
    """Something that costs memory and may be dropped at any time."""

    @property
    def bytes(self) -> int: ...

    def drop(self) -> None:
        """Remove it from where it is kept; the ledger no longer counts it."""


class Ledger:
    """Keeps the order of use and the sum of bytes, at most `limit`."""

    def __init__(self, limit: int) -> None:
        self.bytes = 0
        self._ration = Ration(limit, doubles=True)
        # A dictionary keeps its order: the first was used longest ago.
        self._sizes: dict[LedgerEntry, int] = {}

    @property
    def limit(self) -> int:
        return self._ration.now

    def use(self, kept: Iterable[LedgerEntry]) -> None:
        """Mark items as just used, in their order; new ones are counted from now on."""
        for item in kept:
            self._strike(item)
            self.weigh(item)

    def weigh(self, item: LedgerEntry) -> None:
        """Update its size without marking it as used."""
        self.bytes += item.bytes - self._sizes.get(item, 0)
        self._sizes[item] = item.bytes

    def room(self, more: int, spared: Collection[LedgerEntry] = ()) -> bool:
        """Make room for `more` bytes; False if they do not fit without dropping what is `spared`."""
        self._ration.lasted(self.bytes + more)
        if more > self.limit - sum(item.bytes for item in spared):
            return False
        while self.bytes + more > self.limit:
            stalest = next(iter(self._sizes))
            if stalest in spared:
                return False
            self._drop(stalest)
        return True

    def halve(self) -> None:
        """Memory ran out: drop everything, and keep at most half as much until it has lasted again."""
        self.clear()
        self._ration.shrink(self.limit // 2)

    def clear(self) -> None:
        """Drop everything."""
        for item in list(self._sizes):
            self._drop(item)

    def _drop(self, item: LedgerEntry) -> None:
        self._strike(item)
        item.drop()

    def _strike(self, item: LedgerEntry) -> None:
        self.bytes -= self._sizes.pop(item, 0)

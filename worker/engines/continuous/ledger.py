"""What is kept for reuse, and who goes first when its memory is full: whatever was not used for longest."""

from collections.abc import Collection, Iterable
from typing import Protocol


class Kept(Protocol):
    """Something that costs memory and may be dropped at any time."""

    @property
    def bytes(self) -> int: ...

    def drop(self) -> None:
        """Forget it where it is kept; the ledger has struck it out already."""


class Ledger:
    """Keeps the order of use and the sum of bytes, at most `limit`."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.bytes = 0
        # A dictionary keeps its order: the first was used longest ago.
        self._sizes: dict[Kept, int] = {}

    def use(self, kept: Iterable[Kept]) -> None:
        """They were used just now, the last one last; what is new is counted from now on."""
        for item in kept:
            self._strike(item)
            self.weigh(item)

    def weigh(self, item: Kept) -> None:
        """Count its size anew, whenever it was used."""
        self.bytes += item.bytes - self._sizes.get(item, 0)
        self._sizes[item] = item.bytes

    def room(self, more: int, spared: Collection[Kept] = ()) -> bool:
        """Make room for `more` bytes; False where they do not fit beside what is `spared`."""
        if more > self.limit - sum(item.bytes for item in spared):
            return False
        while self.bytes + more > self.limit:
            stalest = next(iter(self._sizes))
            if stalest in spared:
                return False
            self._drop(stalest)
        return True

    def clear(self) -> None:
        """Everything goes."""
        for item in list(self._sizes):
            self._drop(item)

    def _drop(self, item: Kept) -> None:
        self._strike(item)
        item.drop()

    def _strike(self, item: Kept) -> None:
        self.bytes -= self._sizes.pop(item, 0)

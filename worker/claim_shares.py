"""Keeps one caller's slow claims from taking all of a process: others go past a caller that has its share."""

import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterable

from shared.store.claims import Claim


class ClaimShares:
    """Claims that are at one thing, such as fetching: `each` of a caller's, `most` of all together."""

    def __init__(self, each: int, most: int = sys.maxsize) -> None:
        self._each, self.most = each, most
        self._lock = threading.Lock()
        self._claims: dict[str, Claim] = {}
        self._missed = Counter[str]()
        self.on_return: Callable[[], object] = lambda: None
        """Called once for each claim that `missed` a caller's work, when that may be claimed again."""

    def add(self, claim: Claim) -> bool:
        """Whether there was room for it."""
        with self._lock:
            added = len(self._claims) < self.most
            if added:
                self._claims[claim.token] = claim
            return added

    def remove(self, token: str) -> bool:
        """The claim is at it no longer; whether it was."""
        # Most were never: those do not wait for the lock.
        if (claim := self._claims.pop(token, None)) is None:
            return False
        with self._lock:
            returns = self._missed[claim.caller] > 0
            self._missed -= Counter([claim.caller])
        if returns:
            self.on_return()
        return True

    def aside(self) -> set[str]:
        """Callers of whom nothing is to be claimed now."""
        if not self._claims:
            return set()
        with self._lock:
            counts = Counter(claim.caller for claim in tuple(self._claims.values()))
            return {caller for caller, count in counts.items() if count >= self._each}

    def missed(self, callers: Iterable[str]) -> None:
        """Nothing was found to claim while these stood aside: a nudge for their work came in vain."""
        with self._lock:
            self._missed.update(callers)

    @property
    def rows(self) -> int:
        return sum(claim.rows for claim in tuple(self._claims.values()))

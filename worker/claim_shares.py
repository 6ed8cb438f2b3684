"""Keeps one caller's slow claims from taking all of a process: others go past a caller that has its share."""

import sys
import threading
from collections import Counter

from shared.store.claims import Claim


class ClaimShares:
    """Claims that are at one thing, such as fetching: `each` of a caller's, `most` of all together."""

    def __init__(self, each: int, most: int = sys.maxsize) -> None:
        self._each, self.most = each, most
        self._lock = threading.Lock()
        self._claims: dict[str, Claim] = {}

    def add(self, claim: Claim) -> bool:
        """Whether there was room for it."""
        with self._lock:
            added = len(self._claims) < self.most
            if added:
                self._claims[claim.token] = claim
            return added

    def remove(self, token: str) -> bool:
        """The claim is at it no longer; whether it was."""
        return self._claims.pop(token, None) is not None

    def aside(self) -> set[str]:
        """Callers of whom nothing is to be claimed now."""
        if not self._claims:
            return set()
        counts = Counter(claim.caller for claim in tuple(self._claims.values()))
        return {caller for caller, count in counts.items() if count >= self._each}

    @property
    def rows(self) -> int:
        return sum(claim.rows for claim in tuple(self._claims.values()))

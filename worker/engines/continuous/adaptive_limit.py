"""A limit that shrinks where memory runs out, and grows back once memory has lasted for long enough."""

# Memory must last for so many uses of all that is allowed before more is; for twice as many after each time
# that this was too early, and for half as many after each time that it was not.
PATIENCE, MOST_PATIENCE = 64, 4096


class AdaptiveLimit:
    """`most` to begin with, and never more; `now` may be used, which is 1 at least."""

    def __init__(self, most: int, *, doubles: bool = False) -> None:
        """It grows by one at a time, or `doubles`."""
        self.most = self.now = most
        self._doubles = doubles
        self._patience = PATIENCE
        self._well = 0
        self._trying = False

    def shrink(self, now: int) -> None:
        """Memory ran out: allow no more than `now`."""
        if self._trying:
            self._patience = min(2 * self._patience, MOST_PATIENCE)
        self.now = max(1, min(self.now, now))
        self._well, self._trying = 0, False

    def lasted(self, used: int) -> bool:
        """Memory lasted for so much; returns whether more is allowed from now on.

        A use that a smaller limit would have allowed says nothing about this one.
        """
        whole = self.now == self.most
        if used <= self._smaller or (whole and not self._trying):
            return False
        self._well += 1
        if self._well < self._patience:
            return False
        if self._trying:
            self._patience = PATIENCE if whole else max(PATIENCE, self._patience // 2)
        self._well, self._trying = 0, not whole
        if whole:
            return False
        self.now = min(self.most, 2 * self.now if self._doubles else self.now + 1)
        return True

    @property
    def _smaller(self) -> int:
        return self.now // 2 if self._doubles else self.now - 1

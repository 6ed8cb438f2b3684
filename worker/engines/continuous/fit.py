"""A line through measurements of time, of which the newest weigh most."""

# Weight of the newest measurement.
NEWEST = 0.2


class Fit:
    """A computation takes so long whatever it computes, and so much longer for each unit of it.

    Each unit takes no less than `least` of the mean time by unit, and `unmeasured` of it while all
    measurements are of the same amount, which tells nothing.
    """

    def __init__(self, *, least: float, unmeasured: float) -> None:
        self._least = least
        self._unmeasured = unmeasured
        self._units = self._seconds = self._spread = self._together = 0.0

    def add(self, units: int, seconds: float) -> None:
        newest = NEWEST if self.known else 1.0
        more, longer = units - self._units, seconds - self._seconds
        self._units += newest * more
        self._seconds += newest * longer
        self._spread = (1 - newest) * (self._spread + newest * more * more)
        self._together = (1 - newest) * (self._together + newest * more * longer)

    @property
    def known(self) -> bool:
        """Whether anything was measured; what follows needs that."""
        return self._units > 0

    @property
    def unit_s(self) -> float:
        mean = self._seconds / self._units
        if not self._spread:
            return self._unmeasured * mean
        return min(max(self._together / self._spread, self._least * mean), mean)

    @property
    def base_s(self) -> float:
        return self._seconds - self.unit_s * self._units

    def at(self, units: int) -> float:
        """Seconds that so many units would take."""
        return self.base_s + self.unit_s * units

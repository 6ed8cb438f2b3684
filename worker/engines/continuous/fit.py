"""A straight line fitted to time measurements; the newest weigh most."""

# Weight of the newest measurement.
NEWEST = 0.2


class Fit:
    """The time of a computation as a fixed part plus a time per unit.

    A unit's time is at least `least` times the mean time per unit. While all measurements are of the same
    number of units, which shows no slope, it is `unmeasured` times that mean.
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
        """Whether anything was measured; `unit_s`, `base_s` and `at` need that."""
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

"""How much of a prompt is computed between two steps, so that those who decode hardly notice."""

# A chunk smaller than this costs more in overhead than it spares the others.
SMALLEST = 16
# Before anything was measured.
FIRST = 64
# Weight of the newest measurement.
NEWEST = 0.2


class Pace:
    """Measures steps and prompt tokens, and makes a chunk cost about `steps` steps."""

    def __init__(self, steps: float) -> None:
        self._steps = steps
        self._step_s: float | None = None
        self._token_s: float | None = None

    def stepped(self, seconds: float) -> None:
        self._step_s = _mean(self._step_s, seconds)

    def prefilled(self, tokens: int, seconds: float) -> None:
        if tokens < SMALLEST:
            return  # the end of a prompt whose beginning was known tells little of a whole one
        self._token_s = _mean(self._token_s, seconds / tokens)

    @property
    def chunk(self) -> int:
        """Tokens of a prompt that take no longer than the steps others may wait."""
        if self._step_s is None or self._token_s is None:
            return FIRST
        return max(SMALLEST, int(self._steps * self._step_s / self._token_s))


def _mean(old: float | None, new: float) -> float:
    return new if old is None else (1 - NEWEST) * old + NEWEST * new

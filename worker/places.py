"""How many requests' pictures and sounds a worker prepares at the same time; callers take turns."""

from worker.processors import processors

# Each place may hold 50 MB of pixels, and a model's processor makes several times as much of them.
FEWEST, MOST = 2, 8
# One place for so many processors: the others are the model's, and those of other workers on the machine.
SHARE = 4


def places() -> int:
    return min(MOST, max(FEWEST, processors() // SHARE))

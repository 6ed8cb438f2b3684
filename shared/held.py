"""What is held of a job until its inputs are here: who fetches them needs no models file, new or old."""

from shared.job import Priority
from shared.request import Frozen


class Held(Frozen):
    """Where its run will stand, and what its hash and its place in line follow from besides the request."""

    lane: str
    revision: str
    priority: Priority
    cost: int
    rows: int = 1
    reuse: bool

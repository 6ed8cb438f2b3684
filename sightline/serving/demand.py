"""What the policy of residency is told at each look: devices, who waits for each model, where it stands."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

WEIGHTS = {"interactive": 4.0, "normal": 2.0, "batch": 1.0}
"""What a second of a caller's time counts, by class."""
SMOOTHED_S = 1200.0
"""What was asked for longer ago counts little."""
Place = tuple[str, ...]
"""The devices of one copy."""


@dataclass(frozen=True)
class Device:
    """`room` is the bytes that models may take of it; `name` is "cpu", "cuda:0" and so on."""

    name: str
    room: float


@dataclass(frozen=True)
class Copy:
    """A worker on this machine, in its state since `since_s`; `busy` counts the rows that it computes.

    `device` names all of its devices, with commas, where it spans several.
    """

    device: str
    state: Literal["loading", "resident", "leaving"]
    since_s: float
    busy: int = 0

    @property
    def place(self) -> Place:
        return tuple(self.device.split(","))


@dataclass(frozen=True)
class Demand:
    """One model as the node sees it; `model` is its name for people.

    `need` is in bytes, of all its devices together where it `spans` them. `waiting` is as `weigh` counts it,
    and `asked_per_s` are callers by the same weights. `oldest_s` is how long the first in line waits,
    `cost_s` the work in line in seconds of one copy. `elsewhere` counts workers of other machines that are
    ready or load. One that `drains` ends what it computes in the time that a worker has for that; else it is
    begun anew. Until `retry_at_s` a load that failed is not tried again; 0 where the last one succeeded.
    `failed`: it cannot be loaded, as far as the last try showed.
    """

    lane: str
    need: float
    load_s: float
    unload_s: float
    devices: Place
    waiting: float = 0.0
    oldest_s: float = 0.0
    cost_s: float = 0.0
    copies: Sequence[Copy] = ()
    elsewhere: int = 0
    idle_s: float = 0.0
    asked_per_s: float = 0.0
    spans: bool = False
    always: bool = False
    keep_alive_s: float | None = None
    copies_wanted: int = 1
    drains: bool = True
    retry_at_s: float = 0.0
    failed: bool = False
    model: str = ""

    @property
    def standing(self) -> int:
        """Its workers, here and elsewhere, that serve or soon will."""
        return self.elsewhere + sum(copy.state != "leaving" for copy in self.copies)

    @property
    def pays_per_s(self) -> float:
        """Who waits for want of a copy: all, or those whom another would serve sooner than it loads."""
        if not self.standing:
            return self.waiting
        return self.waiting / (self.standing + 1) if self.cost_s / self.standing > self.load_s else 0.0

    def share(self, place: Place) -> float:
        """What it takes of each device of the place."""
        return self.need / len(place)


def weigh(callers: Mapping[str, int], rows: int) -> float:
    """Who waits, by class; of each no more than a copy serves at once: a flood buys no room by its size."""
    return sum(WEIGHTS[name] * min(count, rows) for name, count in callers.items())


def smoothed(per_s: float, asked: float, passed_s: float) -> float:
    """Arrivals a second, with those (by weight) of the last `passed_s`."""
    return per_s + (asked / passed_s - per_s) * -math.expm1(-passed_s / SMOOTHED_S)

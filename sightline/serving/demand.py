"""What the policy of residency sees: devices, models, their copies here, and how long requests wait."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

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

    `device` names all of its devices, with commas, if it spans several.
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

    `need` is in bytes, of all its devices together if it `spans` them. `waits_s` is how long its oldest
    request waits, but not longer than the model has been loaded or not: one with a long queue that has to
    leave waits behind the one that it leaves for. It is None if no request waits, and while it loads.
    `idle_s` is how long it has had no request at all. `elsewhere` counts the ready or loading workers of
    other machines. A model that `drains` finishes what it computes in the time that a worker has for that;
    otherwise its work begins anew. A load that was lost or failed is not tried again before `retry_at_s`,
    which is 0 once a load succeeded. `failed`: the model counts as one that cannot be loaded. `unloaded`: an
    operator unloaded it, and no request came since.
    """

    lane: str
    need: float
    load_s: float
    unload_s: float
    devices: Place
    waits_s: float | None = None
    idle_s: float = 0.0
    copies: Sequence[Copy] = ()
    elsewhere: int = 0
    spans: bool = False
    always: bool = False
    keep_alive_s: float | None = None
    copies_wanted: int = 1
    drains: bool = True
    retry_at_s: float = 0.0
    failed: bool = False
    unloaded: bool = False
    model: str = ""

    @property
    def standing(self) -> int:
        """Its workers, here and elsewhere, that serve or soon will."""
        return self.elsewhere + sum(copy.state != "leaving" for copy in self.copies)

    def share(self, place: Place) -> float:
        """Return the bytes that it takes of each device of the place."""
        return self.need / len(place)

"""Who would leave a device for a model, and what that costs those who will wait for them."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sightline.serving.demand import WEIGHTS, Copy, Demand, Device, Place

Standing = tuple[Demand, Copy]
Stay = Callable[[Demand, Copy], float]
"""For how many seconds yet a copy may not leave."""


LITTLE_S = 0.1
"""Left of what takes longer than foreseen."""


@dataclass(frozen=True)
class Swap:
    """`price` is in seconds that others wait, by their weights; it can begin in `in_s`."""

    place: Place
    victims: Sequence[Standing]
    price: float
    in_s: float


@dataclass(frozen=True)
class Victim:
    demand: Demand
    copy: Copy
    price: float
    stays_s: float

    def cost(self, demand: Demand) -> float:
        """With what those wait meanwhile who wait for it to leave."""
        return self.price + self.stays_s * demand.pays_per_s if self.stays_s else self.price


class Look:
    """The devices at one moment: who stands where, and what is free, now and once all have left who leave."""

    def __init__(
        self, now_s: float, devices: Sequence[Device], demands: Sequence[Demand], min_resident_s: float
    ) -> None:
        self._now_s = now_s
        self._min_resident_s = min_resident_s
        self.standing = {
            device.name: [(one, copy) for one in demands for copy in one.copies if device.name in copy.place]
            for device in devices
        }
        self.free, self._free_soon, self.most = (
            {device.name: device.room - self._taken(device.name, by) for device in devices}
            for by in (_anybody, _who_is_not_leaving, _who_always_stays)
        )

    def _taken(self, name: str, by: Callable[[Demand, Copy], bool]) -> float:
        return sum(one.share(copy.place) for one, copy in self.standing[name] if by(one, copy))

    def is_full(self, demand: Demand, place: Place) -> bool:
        """Whether as many of it stand there as were asked for."""
        most = -(-demand.copies_wanted // len(demand.devices))
        return any(sum(one.lane == demand.lane for one, _ in self.standing[name]) >= most for name in place)

    def fits(self, demand: Demand, place: Place) -> bool:
        return all(demand.share(place) <= self.free[name] for name in place)

    def places(self, demand: Demand) -> list[Place]:
        """Where it could stand if all left that may."""
        names = tuple(name for name in demand.devices if name in self.most)
        places = [names] if demand.spans else [(name,) for name in names]
        return [p for p in places if p and all(demand.share(p) <= self.most[name] for name in p)]

    def swap(self, demand: Demand, place: Place, stay: Stay) -> Swap | None:
        """Who is missed least for its bytes leaves, save those whose room is not needed in the end."""
        there = {
            id(copy): Victim(one, copy, self._price(demand, one, copy), stays_s)
            for name in place
            for one, copy in self.standing[name]
            if (stays_s := stay(one, copy)) < math.inf
        }
        victims = list[Victim]()
        for victim in sorted(there.values(), key=lambda it: it.cost(demand) / (it.demand.need or 1)):
            if not self._suffice(victims, demand, place):
                victims.append(victim)
        if not self._suffice(victims, demand, place):
            return None
        for victim in sorted(victims, key=lambda it: it.cost(demand), reverse=True):
            others = [one for one in victims if one is not victim]
            if self._suffice(others, demand, place):
                victims = others
        waits_for = {"loading"} if victims or self.fits(demand, place) else {"loading", "leaving"}
        waits_s = [
            self.settles_s(*it) for at in place for it in self.standing[at] if it[1].state in waits_for
        ]
        in_s = max([victim.stays_s for victim in victims] + waits_s, default=0.0)
        standing = [(victim.demand, victim.copy) for victim in victims]
        return Swap(place, standing, sum(victim.price for victim in victims), in_s)

    def settles_s(self, demand: Demand, copy: Copy) -> float:
        """For how long yet it loads or leaves."""
        takes_s = {"loading": demand.load_s, "leaving": demand.unload_s}.get(copy.state)
        return 0.0 if takes_s is None else max(copy.since_s + takes_s - self._now_s, LITTLE_S)

    def _suffice(self, victims: Sequence[Victim], demand: Demand, place: Place) -> bool:
        return all(
            demand.share(place) - self._free_soon[name]
            <= sum(it.demand.share(it.copy.place) for it in victims if name in it.copy.place)
            for name in place
        )

    def _price(self, demand: Demand, victim: Demand, copy: Copy) -> float:
        """What those wait in sum who are in line or come until it is back, with others where it has some."""
        if victim.standing > 1 and not copy.busy and not victim.waiting:
            return 0.0
        away_s = victim.unload_s + demand.load_s + self._min_resident_s + victim.load_s
        asked_per_s = victim.asked_per_s
        if victim.idle_s:
            # Who idles is asked for less than it was: a burst that is over keeps nobody out.
            asked_per_s = min(asked_per_s, WEIGHTS["normal"] / victim.idle_s)
        return away_s * (victim.waiting + asked_per_s * away_s / 2) / victim.standing


def _anybody(*_: object) -> bool:
    return True


def _who_is_not_leaving(_: Demand, copy: Copy) -> bool:
    return copy.state != "leaving"


def _who_always_stays(demand: Demand, copy: Copy) -> bool:
    return demand.always and not (demand.failed and copy.state == "loading")

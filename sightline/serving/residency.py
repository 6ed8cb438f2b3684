"""Which models stand on which devices of one machine: who waits, against what a swap costs.

What fits in free room is loaded as soon as it is asked for. Where others must leave for a model, its callers
pay rent, a second for each second that one of them waits, and it is loaded once that is as much as the swap
costs others: rent or buy, as in ski rental, which costs at most twice what it would if one knew who will call
(Karlin, Manasse, Rudolph and Sleator 1988). Who leaves is who would be missed least for its bytes, as in
GreedyDual (Young 1994). So callers gather while they wait and one swap serves them all, where a swap at each
call would thrash.

Who has waited for `max_wait_s` pays nothing more; who has callers in line stays for a few loads first.

A model that failed to load is tried again in free room, while nobody waits for a load. Others leave for it
only if nobody has asked for any of them for QUIET_S.

Nothing here measures or does anything: the node looks, asks for the moves, and makes them.
"""

import math
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace

from sightline.serving.demand import WEIGHTS, Copy, Demand, Device, Place
from sightline.serving.swap import Look, Stay, Swap

GB = 1e9
QUIET_S = 600.0
LOADS_STAYED = 4
"""Of who has callers in line: where all have some, most of the time goes into work."""


@dataclass(frozen=True)
class Load:
    lane: str
    device: str


@dataclass(frozen=True)
class Unload:
    """It takes nothing new and answers what it has begun; from the next look on it is a copy that leaves."""

    lane: str
    device: str
    reason: str


Move = Load | Unload


class Residency:
    """Remembers between looks who has paid how much, and for whom room is being made."""

    def __init__(self, min_resident_s: float = 1.0, max_wait_s: float = 120.0) -> None:
        self._min_resident_s = min_resident_s
        self._max_wait_s = max_wait_s
        self._now_s = math.inf
        self._rent: dict[str, float] = {}
        self._reserved: dict[str, str] = {}
        self._moving = set[str]()
        self._demands: dict[str, Demand] = {}
        self._at = Look(0.0, (), (), min_resident_s)
        self._devices: Sequence[Device] = ()
        self._foreseen: Look | None = None
        self._begins_s: dict[str, float] = {}

    def decide(self, now_s: float, devices: Sequence[Device], demands: Sequence[Demand]) -> list[Move]:
        """What is to be done now; `demands` are in the catalogue's order."""
        passed_s = max(now_s - self._now_s, 0.0)
        due = [one for one in demands if now_s >= one.retry_at_s]
        tried = [one for one in due if not one.failed]
        paying = [one for one in tried if one.pays_per_s]
        self._rent = {
            one.lane: self._rent.get(one.lane, 0.0) + one.pays_per_s * min(passed_s, one.oldest_s)
            for one in paying
        }
        missing = self._rent.keys() | {
            one.lane for one in tried if one.always and one.standing < one.copies_wanted
        }
        failed = [one for one in due if one.failed and one.standing < one.copies_wanted]
        quiet = all(one.failed or one.idle_s >= QUIET_S for one in demands)
        missing |= {one.lane for one in failed if quiet}
        self._reserved = {name: lane for name, lane in self._reserved.items() if lane in missing}
        self._now_s = now_s
        self._demands = {one.lane: one for one in demands}
        self._at = Look(now_s, devices, demands, self._min_resident_s)
        self._moving = set()
        self._devices, self._foreseen = devices, None
        moves = [*self._expire()]
        if crowded := any(not one.standing and self._at.places(one) for one in paying):
            tries = [(one, copy) for one in demands if one.failed for copy in one.copies]
            moves += [self._unload(*it, "others wait") for it in tries if it[1].state == "loading"]
        moves += self._serve(tried, paying)
        for one in () if crowded else failed:
            moves += self._bring(one, math.inf, None if quiet else _for_ever)
        return moves

    def load_in_s(self, lane: str) -> float:
        """Seconds until its load begins; where nobody waits, as if somebody called now."""
        if self._foreseen is None:
            self._foreseen = self._foresee()
        begins_s = self._begins_s.get(lane)
        return self._begins(self._foreseen, self._demands[lane])[0] if begins_s is None else begins_s

    def reason(self, lane: str) -> str:
        """Why a model can stand nowhere, whoever asks for it; empty where it can."""
        demand, most = self._demands[lane], self._at.most
        if demand.copies or self._at.places(demand):
            return ""
        rooms = ", ".join(f"{name} has {most[name] / GB:.1f}" for name in demand.devices if name in most)
        return f"it needs {demand.need / GB:.1f} GB; beside what always stays {rooms}"

    def _expire(self) -> Iterator[Move]:
        for demand in self._demands.values():
            limit_s = demand.keep_alive_s
            if limit_s is None or demand.waiting or demand.idle_s <= limit_s:
                continue
            for copy in [copy for copy in demand.copies if not copy.busy and not self._stays_s(demand, copy)]:
                yield self._unload(demand, copy, f"nobody asked for it for {limit_s:g} s")

    def _serve(self, tried: Sequence[Demand], paying: Sequence[Demand]) -> Iterator[Move]:
        """First rows that always stand, then who has waited longest of those who have paid or are late."""
        for demand in tried:
            if demand.always and demand.standing < demand.copies_wanted:
                yield from self._bring(demand, math.inf)
        for demand in sorted(paying, key=lambda one: one.oldest_s, reverse=True):
            late = demand.oldest_s >= self._max_wait_s and not demand.standing and not demand.retry_at_s
            paid = math.inf if late else self._rent[demand.lane]
            if demand.standing:
                # A further copy keeps the device from those who have none.
                paid -= demand.load_s * sum(one.waiting for one in paying if not one.standing)
            yield from self._bring(demand, paid)
        if not any(self._swaps(one) for one in paying if not one.standing):
            for demand in tried:
                if demand.keep_alive_s is None and demand.standing < demand.copies_wanted:
                    yield from self._bring(demand, 0.0, _for_ever)

    def _bring(self, demand: Demand, paid: float, stay: Stay | None = None) -> list[Move]:
        """Load it, or have others leave for it where that costs no more than was paid; one move a device."""
        swap = next(iter(self._swaps(demand, stay, self._moving)), None)
        if swap is None or swap.price > paid:
            return []
        # Those who have waited less take nothing of it meanwhile: else a large model would never find room.
        self._moving.update(swap.place)
        if swap.in_s:
            return []
        if self._at.fits(demand, swap.place):
            self._reserved = {at: lane for at, lane in self._reserved.items() if lane != demand.lane}
            return [Load(demand.lane, ",".join(swap.place))]
        self._reserved |= dict.fromkeys(swap.place, demand.lane)
        reason = f"its room was needed for {demand.model or demand.lane}"
        return [self._unload(victim, copy, reason) for victim, copy in swap.victims]

    def _unload(self, demand: Demand, copy: Copy, reason: str) -> Unload:
        self._moving |= {demand.lane, *copy.place}
        return Unload(demand.lane, copy.device, reason)

    def _stays_s(self, demand: Demand, copy: Copy) -> float:
        """For how long it may not leave yet."""
        if demand.always or copy.state != "resident" or demand.lane in self._moving:
            return math.inf
        work_s = min(LOADS_STAYED * demand.load_s, self._max_wait_s) if demand.waiting else 0.0
        # What would be begun anew is let go on, if not for ever.
        work_s = self._max_wait_s if copy.busy and not demand.drains else work_s
        return max(copy.since_s + max(self._min_resident_s, work_s) - self._now_s, 0.0)

    def _foresee(self) -> Look:
        """The devices once each has been loaded for whom somebody waits, one after the other."""
        self._begins_s, at, demands = {}, self._at, dict(self._demands)
        missing = [one for one in demands.values() if one.lane in self._rent and not one.standing]
        for demand in sorted(missing, key=lambda one: one.oldest_s, reverse=True):
            self._begins_s[demand.lane], swap = self._begins(at, demand)
            if swap is None:
                continue
            for victim, copy in swap.victims:
                rest = [one for one in demands[victim.lane].copies if one is not copy]
                demands[victim.lane] = replace(demands[victim.lane], copies=rest)
            begun = Copy(",".join(swap.place), "loading", self._now_s + self._begins_s[demand.lane])
            # Who waits for it now is served before it leaves again.
            demands[demand.lane] = replace(demand, waiting=0.0, copies=(*demand.copies, begun))
            at = Look(self._now_s, self._devices, list(demands.values()), self._min_resident_s)
        return at

    def _begins(self, at: Look, demand: Demand) -> tuple[float, Swap | None]:
        """When and where its load begins; those that load now have been there for a while by then."""

        def stays_s(one: Demand, copy: Copy) -> float:
            if one.always or copy.state == "leaving" or one.lane == demand.lane:
                return math.inf
            return (
                max(copy.since_s + self._min_resident_s - self._now_s, 0.0)
                if copy.state == "resident"
                else (at.settles_s(one, copy) + self._min_resident_s)
            )

        swaps = [swap for place in at.places(demand) if (swap := at.swap(demand, place, stays_s))]
        begins = [(self._begins_there(demand, swap), swap) for swap in swaps]
        return min(begins, key=lambda it: it[0], default=(self._max_wait_s, None))

    def _begins_there(self, demand: Demand, swap: Swap) -> float:
        """When it will have paid, with those who come, or is late, and those who leave may."""
        left = max(swap.price - self._rent.get(demand.lane, 0.0), 0.0)
        per_s = demand.pays_per_s or WEIGHTS["normal"]
        paid_s = 2 * left / (per_s + math.sqrt(per_s**2 + 2 * demand.asked_per_s * left))
        leaving_s = max((victim.unload_s for victim, _ in swap.victims), default=0.0)
        late_s, pause_s = self._max_wait_s - demand.oldest_s, demand.retry_at_s - self._now_s
        return max(min(paid_s, late_s), swap.in_s, pause_s) + leaving_s

    def _is_open(self, demand: Demand, place: Place) -> bool:
        """Nobody takes room that is made for another, or stands more often on a device than was asked for."""
        others = any(self._reserved.get(name, demand.lane) != demand.lane for name in place)
        return not others and not self._at.is_full(demand, place)

    def _swaps(
        self, demand: Demand, stay: Stay | None = None, closed: AbstractSet[str] = frozenset()
    ) -> list[Swap]:
        """One for each place that is open to it, the cheapest first, of equal ones that with most room."""
        places = [p for p in self._at.places(demand) if closed.isdisjoint(p) and self._is_open(demand, p)]
        swaps = [swap for place in places if (swap := self._at.swap(demand, place, stay or self._stays_s))]
        per_s, free = demand.pays_per_s, self._at.free
        return sorted(
            swaps,
            key=lambda it: (it.price + it.in_s * per_s, it.in_s, len(it.victims), -free[it.place[0]]),
        )


def _for_ever(*_: object) -> float:
    return math.inf

"""Which models are loaded on the devices of one machine: pure functions of what its node sees.

The model whose oldest request waits longest gets the next free room. If no room is free, the least recently
used idle models leave. Models with work leave only after a request has waited for `max_wait_s`, and not
before they have worked for a few load times: otherwise models with long queues would be swapped all the time.

While no model waits for room come wishes that are less urgent: a further copy of a model whose requests wait
longer than a load takes, models that fit beside the others and that nobody asks for yet, and another try of
a load that failed.
"""

from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from math import inf

from sightline.serving.demand import Copy, Demand, Device, Place

QUIET_S, CROWDED_S = 600.0, 5.0
"""How long no model was asked for when a failed load evicts one, and the least wait for a further copy."""
LOADS_STAYED = 4
"""A model with work stays for this many load times."""
AT_ONCE, LATE = 0.0, -1.0
"""Idle times after which models leave: as soon as they are idle, and even if they have work."""
Standing = tuple[Demand, Copy]


@dataclass(frozen=True)
class Rules:
    min_resident_s: float = 1.0
    max_wait_s: float = 120.0

    def stays_s(self, demand: Demand, copy: Copy) -> float:
        """Return how long a copy stays after it was loaded; computations that would begin anew may end."""
        if copy.busy and not demand.drains:
            return max(self.max_wait_s, self.min_resident_s)
        works = copy.busy or demand.waits_s is not None
        work_s = min(LOADS_STAYED * demand.load_s, self.max_wait_s) if works else 0.0
        return max(self.min_resident_s, work_s)


@dataclass(frozen=True)
class Load:
    lane: str
    device: str


@dataclass(frozen=True)
class Unload:
    """The copy takes nothing new and answers what it has begun; at the next look it is a copy that leaves."""

    lane: str
    device: str
    reason: str


Move = Load | Unload


class Look:
    """The devices at one moment; `closed` are those that an earlier wish takes or waits for."""

    def __init__(
        self, now_s: float, devices: Sequence[Device], demands: Sequence[Demand], rules: Rules
    ) -> None:
        self.now_s, self.rules = now_s, rules
        self.closed = set[str]()
        self.copies = [(one, copy) for one in demands for copy in one.copies]
        self.rooms = {device.name: device.room for device in devices}
        self._on = {name: [it for it in self.copies if name in it[1].place] for name in self.rooms}
        not_pinned = {id(copy) for one, copy in self.copies if not pinned(one, copy)}
        self.most = {name: self.free(name, not_pinned) for name in self.rooms}

    def free(self, device: str, gone: AbstractSet[int] = frozenset()) -> float:
        """Return the free bytes of a device once the copies with these Python ids are gone."""
        staying = (one.share(copy.place) for one, copy in self._on[device] if id(copy) not in gone)
        return self.rooms[device] - sum(staying)

    def fits(self, demand: Demand, place: Place, gone: AbstractSet[int] = frozenset()) -> bool:
        return all(demand.share(place) <= self.free(name, gone) for name in place)

    def at(self, place: Place) -> list[Standing]:
        return list({id(it[1]): it for name in place for it in self._on[name]}.values())

    def places(self, demand: Demand) -> list[Place]:
        """Return the places that a model could have if all others left that may."""
        names = tuple(name for name in demand.devices if name in self.rooms)
        places = [names] if demand.spans else [(name,) for name in names]
        return [p for p in places if p and all(demand.share(p) <= self.most[name] for name in p)]

    def is_open(self, demand: Demand, place: Place) -> bool:
        """Return whether the place is not reserved, and the model is below its number of copies there."""
        most = -(-demand.copies_wanted // len(demand.devices))
        full = any(sum(name in copy.place for copy in demand.copies) >= most for name in place)
        return not full and self.closed.isdisjoint(place)

    def victims(self, demand: Demand, place: Place, idle_s: float) -> list[Standing] | None:
        """Return the copies to evict, the least recently used ones; None if the place cannot be had now."""
        there = self.at(place)
        gone = {id(copy) for _, copy in there if copy.state == "leaving"}
        chosen = list[Standing]()
        for it in sorted(there, key=lambda it: -it[0].idle_s):
            if not self.fits(demand, place, gone) and self._may_leave(*it, demand, idle_s):
                chosen.append(it)
                gone.add(id(it[1]))
        # A small model is spared if a larger one that leaves too makes room enough.
        for it in reversed(chosen):
            if self.fits(demand, place, gone - {id(it[1])}):
                chosen.remove(it)
                gone.discard(id(it[1]))
        # A device loads one model at a time.
        free = all(copy.state != "loading" or id(copy) in gone for _, copy in there)
        return chosen if free and self.fits(demand, place, gone) else None

    def _may_leave(self, one: Demand, copy: Copy, asker: Demand, idle_s: float) -> bool:
        if pinned(one, copy) or one.lane == asker.lane or copy.state == "leaving" or idle_s == inf:
            return False
        if copy.state == "loading":
            return one.failed
        idle = one.waits_s is None and not copy.busy and one.idle_s > idle_s
        spare = one.standing > 1 and not asker.standing
        may = idle or spare or idle_s == LATE
        return may and self.now_s - copy.since_s >= self.rules.stays_s(one, copy)


def pinned(one: Demand, copy: Copy) -> bool:
    return one.always and not (one.failed and copy.state == "loading")


def decide(now_s: float, devices: Sequence[Device], demands: Sequence[Demand], rules: Rules) -> list[Move]:
    """Return what is to be done now; `demands` are in the catalogue's order."""
    look = Look(now_s, devices, demands, rules)
    moves = list[Move](_expired(look))
    for move in moves:
        look.closed.update(move.device.split(","))
    for demand, idle_s in _wishes(look, demands):
        moves += _grant(look, demand, idle_s)
    return moves


def _expired(look: Look) -> Iterator[Unload]:
    for one, copy in look.copies:
        limit_s, stood_s = one.keep_alive_s, look.now_s - copy.since_s
        if limit_s is None or one.waits_s is not None or one.idle_s <= limit_s or one.always or copy.busy:
            continue
        if copy.state == "resident" and stood_s >= look.rules.stays_s(one, copy):
            yield Unload(one.lane, copy.device, f"nobody asked for it for {limit_s:g} s")


def missing(look: Look, demands: Sequence[Demand]) -> list[Demand]:
    """Return the models without a copy that requests wait for, the longest wait first."""
    waiting = [one for one in demands if one.waits_s is not None and not one.standing and not one.failed]
    return sorted(filter(look.places, waiting), key=lambda one: -(one.waits_s or 0.0))


def _wishes(look: Look, demands: Sequence[Demand]) -> Iterator[tuple[Demand, float]]:
    """Yield the models that want a copy, in order, and how long others must be idle to leave for it."""
    wanted = [one for one in demands if one.waits_s is not None or not one.unloaded]
    due = [one for one in wanted if look.now_s >= one.retry_at_s]
    lacking = [one for one in due if one.standing < one.copies_wanted and not one.failed]
    yield from ((one, LATE) for one in lacking if one.always)
    waiting = missing(look, due)
    for one in waiting:
        # A model whose last load was lost makes no others leave that have work.
        late = (one.waits_s or 0.0) >= look.rules.max_wait_s and not one.retry_at_s
        yield one, LATE if late else AT_ONCE
    if waiting:
        return
    crowded = [one for one in due if one.standing and (one.waits_s or 0.0) > max(one.load_s, CROWDED_S)]
    yield from ((one, look.rules.max_wait_s) for one in crowded)
    quiet = all(one.failed or one.idle_s >= QUIET_S for one in demands)
    failed = [one for one in due if one.failed and not one.standing]
    yield from ((one, AT_ONCE) for one in failed if quiet)
    yield from ((one, inf) for one in lacking if one.keep_alive_s is None)
    yield from ((one, inf) for one in failed)


def _grant(look: Look, demand: Demand, idle_s: float) -> list[Move]:
    """Load the model if it has room, or let others leave for it; otherwise reserve its best place."""
    places = [place for place in look.places(demand) if look.is_open(demand, place)]
    ways = [(place, some) for place in places if (some := look.victims(demand, place, idle_s)) is not None]
    if not ways:
        if idle_s <= AT_ONCE:
            # Otherwise a large model would never find room beside small ones that come and go.
            idle = {id(copy) for one, copy in look.copies if one.idle_s and not copy.busy}
            best = max(places, key=lambda p: min(look.free(name, idle) for name in p), default=())
            look.closed.update(best)
        return []

    def cost(way: tuple[Place, list[Standing]]) -> tuple[bool, bool, float, float]:
        place, victims = way
        newest_s = min((one.idle_s for one, _ in victims), default=0.0)
        return bool(victims), not look.fits(demand, place), -newest_s, -look.free(place[0])

    place, victims = min(ways, key=cost)
    look.closed.update(place, *(copy.place for _, copy in victims))
    if look.fits(demand, place):
        return [Load(demand.lane, ",".join(place))]
    reason = f"its room was needed for {demand.model or demand.lane}"
    return [Unload(victim.lane, copy.device, reason) for victim, copy in victims]

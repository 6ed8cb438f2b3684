"""When a model's load would begin, as callers of cold models are told, and why one can be loaded nowhere."""

from collections.abc import Sequence

from sightline.serving.demand import Copy, Demand, Place
from sightline.serving.residency import Look, missing, pinned

GB = 1e9


def unfit(look: Look, demand: Demand) -> str:
    """Return why a model can be loaded nowhere, whoever asks for it; empty if it can."""
    if demand.copies or look.places(demand):
        return ""
    rooms = (f"{name} has {look.most[name] / GB:.1f}" for name in demand.devices if name in look.most)
    return f"it needs {demand.need / GB:.1f} GB; beside what always stays {', '.join(rooms)}"


def turn_s(look: Look, demand: Demand) -> float:
    """Return by how many seconds a model's load delays the next one."""
    whole_s = demand.load_s + look.rules.min_resident_s + demand.unload_s
    return whole_s / max(len(look.places(demand)), 1)


def begins_in_s(look: Look, demands: Sequence[Demand], demand: Demand) -> float:
    """Return in how many seconds a load begins, behind those of models that were asked for before."""
    ahead_s = 0.0
    for one in missing(look, demands):
        if one is demand:
            break
        ahead_s += turn_s(look, one)
    free_s = [_free_in_s(look, demand, place) for place in look.places(demand)]
    return ahead_s + min(free_s, default=look.rules.max_wait_s)


def _free_in_s(look: Look, demand: Demand, place: Place) -> float:
    there = [it for it in look.at(place) if not pinned(*it)]
    leaving = sorted((_leaves_in_s(look, *it, demand), id(it[1])) for it in there)
    at_s = max((_rest_s(look, it[1], it[0].load_s) for it in there if it[1].state == "loading"), default=0.0)
    gone = set[int]()
    for leaves_s, copy in leaving:
        if look.fits(demand, place, gone):
            break
        gone.add(copy)
        at_s = max(at_s, leaves_s)
    return at_s


def _leaves_in_s(look: Look, one: Demand, copy: Copy, asker: Demand) -> float:
    """Return in how many seconds a copy is gone if it has to leave; it works until a request is late."""
    if copy.state == "leaving":
        return _rest_s(look, copy, one.unload_s)
    if copy.state == "loading":
        return _rest_s(look, copy, one.load_s) + look.rules.min_resident_s + one.unload_s
    works = one.standing == 1 and (copy.busy or not one.idle_s)
    late_s = look.rules.max_wait_s - (asker.waits_s or 0.0) if works else 0.0
    return max(_rest_s(look, copy, look.rules.stays_s(one, copy)), late_s) + one.unload_s


def _rest_s(look: Look, copy: Copy, whole_s: float) -> float:
    return max(copy.since_s + whole_s - look.now_s, 0.0)

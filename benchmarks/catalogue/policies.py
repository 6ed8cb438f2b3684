"""Who decides what stands where: the product's policy, and what it is compared with."""

from collections.abc import Mapping

from benchmarks.catalogue.machine import CatalogueModel, Machine, Policy, StandingCopy
from sightline.serving.demand import Copy, Demand, Device
from sightline.serving.residency import Load, Rules, decide

LOOK_S = 0.5


class Ours:
    """The node: it looks twice a second, and when a load or a leaving ends."""

    look_s = LOOK_S
    one_line = False

    def __init__(self) -> None:
        self._served_s: dict[str, float] = {}

    def look(self, machine: Machine) -> None:
        devices = [Device(name, room) for name, room in machine.rooms.items()]
        demands = [self._demand(machine, model) for model in machine.models.values()]
        for move in decide(machine.now_s, devices, demands, Rules()):
            if isinstance(move, Load):
                machine.load(move.lane, move.device)
            else:
                (copy,) = (one for one in machine.standing(move.lane) if one.device == move.device)
                machine.unload(copy, move.reason)

    def _demand(self, machine: Machine, model: CatalogueModel) -> Demand:
        line = machine.line[model.name]
        copies = [copy for copy in machine.copies if copy.model is model]
        used_s = max((copy.used_s for copy in copies), default=0.0)
        states = {copy.state for copy in copies}
        since_s = line[0].arrived_s if line else 0.0
        if resident := [copy.since_s for copy in copies if copy.state == "resident"]:
            self._served_s[model.name] = machine.now_s
        since_s = max(since_s, min(resident) if resident else self._served_s.get(model.name, 0.0))
        return Demand(
            lane=model.name,
            need=model.need,
            load_s=model.load_s,
            unload_s=model.unload_s,
            devices=tuple(machine.rooms),
            waits_s=machine.now_s - since_s if line and "loading" not in states else None,
            idle_s=0.0 if line or any(copy.busy for copy in copies) else machine.now_s - used_s,
            copies=tuple(Copy(one.device, one.state, one.since_s, one.busy) for one in copies),
            failed=model.name in machine.retries,
            retry_at_s=machine.retries.get(model.name, (0, 0.0))[1],
        )


class LeastRecentlyUsed:
    """Who is asked for and stands nowhere is loaded at once: those leave that idle and were used longest ago,
    on the device where that is longest.

    In `one_line`, as ollama has it, the call at its head is waited for by all that came after it.
    """

    look_s = 0.0

    def __init__(self, *, one_line: bool) -> None:
        self.one_line = one_line
        self._emptied: dict[str, str] = {}

    def look(self, machine: Machine) -> None:
        while self.one_line and machine.pending and self._stands(machine, machine.pending[0].model):
            machine.admit()
        if not self.one_line:
            waiting = [(line[0].arrived_s, name) for name, line in machine.line.items() if line]
            for _, name in sorted(waiting):
                self._stands(machine, name)

    def _stands(self, machine: Machine, name: str) -> bool:
        """Whether it stands or loads, from now on if need be."""
        if machine.standing(name):
            return True
        if device := next((d for d, wanted in self._emptied.items() if wanted == name), None):
            return self._load(machine, name, device)
        victims = {d: self._victims(machine, machine.models[name], d) for d in machine.rooms}
        found = {d: some for d, some in victims.items() if some is not None}
        if not found:
            return False
        device = min(found, key=lambda d: max((copy.used_s for copy in found[d]), default=-1.0))
        self._emptied[device] = name
        for copy in found[device]:
            machine.unload(copy)
        return self._load(machine, name, device)

    def _load(self, machine: Machine, name: str, device: str) -> bool:
        if machine.free(device) < machine.models[name].need:
            return False
        del self._emptied[device]
        machine.load(name, device)
        return True

    def _victims(self, machine: Machine, model: CatalogueModel, device: str) -> list[StandingCopy] | None:
        """Who leaves the device for it; None where it cannot have room there now."""
        if device in self._emptied or machine.loading(device):
            return None
        idle = [copy for copy in machine.copies if copy.device == device and machine.idles(copy)]
        room, victims = machine.free(device), list[StandingCopy]()
        for copy in sorted(idle, key=lambda one: one.used_s):
            if room < model.need:
                victims.append(copy)
                room += copy.model.need
        return victims if room >= model.need else None


class AlwaysResident:
    """What no policy can be better than: each model has a device of its own."""

    look_s = 0.0
    one_line = False

    def look(self, machine: Machine) -> None:
        if not machine.copies:
            machine.copies += [
                StandingCopy(one, one.name, "resident", 0, 0) for one in machine.models.values()
            ]


LRU, LINES = "least recently used, one line", "least recently used"


def policies() -> Mapping[str, Policy]:
    return {
        "ours": Ours(),
        LRU: LeastRecentlyUsed(one_line=True),
        LINES: LeastRecentlyUsed(one_line=False),
        "always resident": AlwaysResident(),
    }

"""A machine over a clock of its own: devices with room, models that load and leave, calls that wait for rows.

A copy computes as many calls at once as it has rows; copies on one device do not slow each other, and each
device loads one model at a time. Policies differ in what they load and unload alone.
"""

import heapq
import itertools
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, Protocol

from sightline.serving.demand import Copy, Demand, Device
from sightline.serving.residency import Load, Rules, decide

LRU, LINES = "least recently used, one line", "least recently used"


@dataclass(frozen=True)
class CatalogueModel:
    name: str
    need: float
    load_s: float
    unload_s: float
    rows: int


@dataclass
class Call:
    model: str
    arrived_s: float
    service_s: float
    begun_s: float = -1.0

    @property
    def waited_s(self) -> float:
        return self.begun_s - self.arrived_s


@dataclass
class LoadedCopy:
    """`used_s` is when it last had a call."""

    model: CatalogueModel
    device: str
    state: Literal["loading", "resident", "leaving"]
    since_s: float
    used_s: float
    busy: int = 0


class Policy(Protocol):
    """Looks each `look_s` and as a load or an unload ends; with 0, after everything that happens.

    In `one_line` a call that has come goes to its model only by `Machine.admit`.
    """

    look_s: float
    one_line: bool

    def look(self, machine: "Machine") -> None: ...


class Machine:
    """`line` holds calls by model in order of arrival, `pending` those of no line yet."""

    def __init__(self, rooms: Mapping[str, float], models: Sequence[CatalogueModel], policy: Policy) -> None:
        self.now_s = 0.0
        self.rooms = rooms
        self.models = {model.name: model for model in models}
        self.copies = list[LoadedCopy]()
        self.line: dict[str, deque[Call]] = {model.name: deque() for model in models}
        self.pending = deque[Call]()
        self.loading_s = 0.0
        self._policy = policy
        self._numbers = itertools.count()
        self._events = list[tuple[float, int, Callable[[], None]]]()
        self._left = 0

    def serve(self, calls: Sequence[Call]) -> None:
        """Run until all are answered."""
        self._left = len(calls)
        for call in calls:
            self._at(call.arrived_s, partial(self._arrive, call))
        if self._policy.look_s:
            self._tick()
        self._policy.look(self)
        while self._left:
            self.now_s, _, event = heapq.heappop(self._events)
            event()

    def free(self, device: str) -> float:
        return self.rooms[device] - sum(copy.model.need for copy in self.copies if copy.device == device)

    def loading(self, device: str) -> bool:
        return any(copy.device == device and copy.state == "loading" for copy in self.copies)

    def staying(self, name: str) -> list[LoadedCopy]:
        """Return the model's copies that serve or will."""
        return [copy for copy in self.copies if copy.model.name == name and copy.state != "leaving"]

    def load(self, name: str, device: str) -> None:
        model = self.models[name]
        if self.free(device) < model.need or self.loading(device):
            raise ValueError(f"{device} has no room for {name} now")
        copy = LoadedCopy(model, device, "loading", self.now_s, self.now_s)
        self.copies.append(copy)
        self.loading_s += model.load_s
        self._at(self.now_s + model.load_s, partial(self._loaded, copy))

    def unload(self, copy: LoadedCopy) -> None:
        copy.state, copy.since_s = "leaving", self.now_s
        self._leave(copy)

    def admit(self) -> None:
        """Hand the first pending call to its model."""
        call = self.pending.popleft()
        self.line[call.model].append(call)
        self._begin(call.model)

    def _at(self, when_s: float, event: Callable[[], None]) -> None:
        heapq.heappush(self._events, (when_s, next(self._numbers), event))

    def _tick(self) -> None:
        self._policy.look(self)
        self._at(self.now_s + self._policy.look_s, self._tick)

    def _arrive(self, call: Call) -> None:
        self.pending.append(call)
        if not self._policy.one_line:
            self.admit()
        self._changed(call.model)

    def _loaded(self, copy: LoadedCopy) -> None:
        if copy.state == "loading":
            copy.state, copy.since_s, copy.used_s = "resident", self.now_s, self.now_s
            self._changed(copy.model.name, own=True)

    def _leave(self, copy: LoadedCopy) -> None:
        if not copy.busy:
            self._at(self.now_s + copy.model.unload_s, partial(self._gone, copy))

    def _gone(self, copy: LoadedCopy) -> None:
        self.copies.remove(copy)
        self._changed(copy.model.name, own=True)

    def _changed(self, name: str, own: bool = False) -> None:
        self._begin(name)
        if own or not self._policy.look_s:
            self._policy.look(self)
            self._begin(name)

    def _begin(self, name: str) -> None:
        line = self.line[name]
        for copy in self.copies:
            serves = copy.model.name == name and copy.state == "resident"
            while line and serves and copy.busy < copy.model.rows:
                call = line.popleft()
                copy.busy += 1
                call.begun_s = copy.used_s = self.now_s
                self._at(self.now_s + call.service_s, partial(self._answered, copy))

    def _answered(self, copy: LoadedCopy) -> None:
        copy.busy -= 1
        copy.used_s = self.now_s
        self._left -= 1
        if copy.state == "leaving":
            self._leave(copy)
        self._changed(copy.model.name)


class Ours:
    """The node: it looks twice a second, and when a load or an unload ends."""

    look_s = 0.5
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
                (copy,) = (one for one in machine.staying(move.lane) if one.device == move.device)
                machine.unload(copy)

    def _demand(self, machine: Machine, model: CatalogueModel) -> Demand:
        line = machine.line[model.name]
        copies = [copy for copy in machine.copies if copy.model is model]
        used_s = max((copy.used_s for copy in copies), default=0.0)
        since_s = line[0].arrived_s if line else 0.0
        if resident := [copy.since_s for copy in copies if copy.state == "resident"]:
            self._served_s[model.name] = machine.now_s
        since_s = max(since_s, min(resident) if resident else self._served_s.get(model.name, 0.0))
        loading = any(copy.state == "loading" for copy in copies)
        return Demand(
            lane=model.name,
            need=model.need,
            load_s=model.load_s,
            unload_s=model.unload_s,
            devices=tuple(machine.rooms),
            waits_s=machine.now_s - since_s if line and not loading else None,
            idle_s=0.0 if line or any(copy.busy for copy in copies) else machine.now_s - used_s,
            copies=tuple(Copy(one.device, one.state, one.since_s, one.busy) for one in copies),
        )


class LeastRecentlyUsed:
    """A model that is asked for and not loaded is loaded at once, where the copies that leave for it have
    been idle longest.

    In `one_line`, as ollama has it, all later calls wait for the call at its head.
    """

    look_s = 0.0

    def __init__(self, *, one_line: bool) -> None:
        self.one_line = one_line
        self._emptied: dict[str, str] = {}

    def look(self, machine: Machine) -> None:
        while self.one_line and machine.pending and self._stays(machine, machine.pending[0].model):
            machine.admit()
        if not self.one_line:
            waiting = [(line[0].arrived_s, name) for name, line in machine.line.items() if line]
            for _, name in sorted(waiting):
                self._stays(machine, name)

    def _stays(self, machine: Machine, name: str) -> bool:
        """Return whether it is loaded or loads, from now on if need be."""
        if machine.staying(name):
            return True
        if device := next((d for d, wanted in self._emptied.items() if wanted == name), None):
            return self._load(machine, name, device)
        victims = {d: self._victims(machine, machine.models[name], d) for d in machine.rooms}
        possible = {d: some for d, some in victims.items() if some is not None}
        if not possible:
            return False
        device = min(possible, key=lambda d: max((copy.used_s for copy in possible[d]), default=-1.0))
        self._emptied[device] = name
        for copy in possible[device]:
            machine.unload(copy)
        return self._load(machine, name, device)

    def _load(self, machine: Machine, name: str, device: str) -> bool:
        if machine.free(device) < machine.models[name].need:
            return False
        del self._emptied[device]
        machine.load(name, device)
        return True

    def _victims(self, machine: Machine, model: CatalogueModel, device: str) -> list[LoadedCopy] | None:
        """Return the copies that leave the device for the model; None if it cannot have room there now."""
        if device in self._emptied or machine.loading(device):
            return None
        room, victims = machine.free(device), list[LoadedCopy]()
        for copy in sorted(machine.copies, key=lambda one: one.used_s):
            idle = copy.state == "resident" and not copy.busy and not machine.line[copy.model.name]
            if copy.device == device and idle and room < model.need:
                victims.append(copy)
                room += copy.model.need
        return victims if room >= model.need else None


def policies() -> Mapping[str, Policy]:
    return {"ours": Ours(), LRU: LeastRecentlyUsed(one_line=True), LINES: LeastRecentlyUsed(one_line=False)}

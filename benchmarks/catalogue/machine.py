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

from shared.backoff import backoff_s
from sightline.serving.node import LONGEST_PAUSE_S


@dataclass(frozen=True)
class CatalogueModel:
    """One that `fails` is there until its load would have ended, and is never asked for."""

    name: str
    need: float
    load_s: float
    unload_s: float
    rows: int
    fails: bool = False


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
class StandingCopy:
    """`used_s` is when it last had a call."""

    model: CatalogueModel
    device: str
    state: Literal["loading", "resident", "leaving"]
    since_s: float
    used_s: float
    busy: int = 0


class Policy(Protocol):
    """Looks each `look_s` and as a load or a leaving ends; with 0, after everything that happens.

    In `one_line` a call that has come goes to its model only by `Machine.admit`.
    """

    @property
    def look_s(self) -> float: ...

    @property
    def one_line(self) -> bool: ...

    def look(self, machine: "Machine") -> None: ...


class Machine:
    """`line` holds calls by model in order of arrival, `pending` those of no line yet.

    `retries` has, by model, how often its load failed and until when it pauses; `unloaded` why models left.
    """

    def __init__(self, rooms: Mapping[str, float], models: Sequence[CatalogueModel], policy: Policy) -> None:
        self.now_s = 0.0
        self.rooms = rooms
        self.models = {model.name: model for model in models}
        self.copies = list[StandingCopy]()
        self.line: dict[str, deque[Call]] = {model.name: deque() for model in models}
        self.pending = deque[Call]()
        self.arrived = dict.fromkeys(self.models, 0)
        self.retries = dict[str, tuple[int, float]]()
        self.unloaded = list[str]()
        self.loads = 0
        self.loading_s = 0.0
        self._policy = policy
        self._numbers = itertools.count()
        self._events = list[tuple[float, int, Callable[[], None]]]()
        self._left = 0

    def serve(self, calls: Sequence[Call]) -> None:
        """Until all are answered."""
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

    def idles(self, copy: StandingCopy) -> bool:
        return copy.state == "resident" and not copy.busy and not self.line[copy.model.name]

    def standing(self, name: str) -> list[StandingCopy]:
        return [copy for copy in self.copies if copy.model.name == name and copy.state != "leaving"]

    def load(self, name: str, device: str) -> None:
        model = self.models[name]
        if self.free(device) < model.need or self.loading(device):
            raise ValueError(f"{device} has no room for {name} now")
        copy = StandingCopy(model, device, "loading", self.now_s, self.now_s)
        self.copies.append(copy)
        self.loads += 1
        self.loading_s += model.load_s
        self._at(self.now_s + model.load_s, partial(self._loaded, copy))

    def unload(self, copy: StandingCopy, reason: str = "") -> None:
        self.unloaded.append(reason)
        copy.state, copy.since_s = "leaving", self.now_s
        self._leave(copy)

    def _at(self, when_s: float, event: Callable[[], None]) -> None:
        heapq.heappush(self._events, (when_s, next(self._numbers), event))

    def _tick(self) -> None:
        self._policy.look(self)
        self._at(self.now_s + self._policy.look_s, self._tick)

    def _arrive(self, call: Call) -> None:
        self.arrived[call.model] += 1
        self.pending.append(call)
        if not self._policy.one_line:
            self.admit()
        self._changed(call.model)

    def admit(self) -> None:
        """The first in line goes to its model."""
        call = self.pending.popleft()
        self.line[call.model].append(call)
        self._begin(call.model)

    def _loaded(self, copy: StandingCopy) -> None:
        if copy.state == "leaving":
            return
        if copy.model.fails:
            failures = self.retries.get(copy.model.name, (0, 0.0))[0] + 1
            self.retries[copy.model.name] = (
                failures,
                self.now_s + backoff_s(failures, longest_s=LONGEST_PAUSE_S),
            )
            self._gone(copy)
            return
        copy.state, copy.since_s, copy.used_s = "resident", self.now_s, self.now_s
        self._changed(copy.model.name, own=True)

    def _leave(self, copy: StandingCopy) -> None:
        if not copy.busy:
            self._at(self.now_s + copy.model.unload_s, partial(self._gone, copy))

    def _gone(self, copy: StandingCopy) -> None:
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

    def _answered(self, copy: StandingCopy) -> None:
        copy.busy -= 1
        copy.used_s = self.now_s
        self._left -= 1
        if copy.state == "leaving":
            self._leave(copy)
        self._changed(copy.model.name)

"""Load: simulated callers and engines on the real scripts and a real record server.

The clock is the simulation's own, which every script takes as `now`: an hour passes in seconds, and other
work on the machine changes no figure. An engine holds what it claimed for a random service time.
"""

import heapq
import itertools
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeVar

from benchmarks.frame import jobs
from shared.job import Estimate, Priority
from shared.store import admission
from shared.store.claims import Claim
from shared.store.script import ScriptCall, Store

T = TypeVar("T")
MODEL = "bench/simulated"
LANE = jobs.lane_of(MODEL)
START_MS = 1_760_000_000_000
HEARTBEAT_S = 1.0
"""As `renew_s`: a record server that hears of nobody for longer takes it for an outage."""
CLAIM_MEDIAN_S, CLAIM_SPREAD = 0.003, 0.3
"""From a nudge to its claim, as `overhead` measures it on an idle queue; lognormal."""

NO_ESTIMATE = Estimate(math.nan, math.nan, math.nan, "")


@dataclass
class SimulatedJob:
    """One job with a run of its own; times in seconds of the simulation."""

    caller: str
    priority: Priority
    cost: int
    service_s: float
    submitted_s: float
    estimate: Estimate = NO_ESTIMATE
    begun_s: float = math.nan

    @property
    def waited_s(self) -> float:
        """NaN where it did not begin."""
        return self.begun_s - self.submitted_s


@dataclass
class Engine:
    """A worker that claims up to `slots` runs and computes `rows` of them at a time."""

    name: str
    slots: int
    rows: int
    prepared: list[Claim] = field(default_factory=list)
    computing: int = 0

    @property
    def has_place(self) -> bool:
        return len(self.prepared) + self.computing < self.slots


class Simulation:
    """Events in the order of their times; `jobs` is everything submitted, by run."""

    def __init__(
        self, store: Store, dice: random.Random, *, engines: int, rows: int = 1, slots: int = 1
    ) -> None:
        self.now_s = 0.0
        self.jobs: dict[str, SimulatedJob] = {}
        self.waiting = 0
        self._dice = dice
        self._store = store
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count(1)
        self._engines = [Engine(f"worker_{n:02d}", slots, rows) for n in range(engines)]
        self._heartbeat()

    def at(self, when_s: float, event: Callable[[], None]) -> None:
        heapq.heappush(self._events, (when_s, next(self._numbers), event))

    def run_until(self, over: Callable[[], bool]) -> None:
        while not over():
            self.now_s, _, event = heapq.heappop(self._events)
            event()

    def submit(self, job: SimulatedJob, *, as_caller: str = "") -> None:
        """`as_caller` is the caller's name that the queue sees."""
        number = next(self._numbers)
        # In the order of their arrival: the queue breaks ties by name.
        caller = as_caller or job.caller
        name = f"job_{number:032x}"
        placing = jobs.placing(MODEL, caller, job=name, priority=job.priority, cost=job.cost)
        self.jobs[placing.job] = job
        self.waiting += 1
        view = self._run(admission.submit(placing, jobs.SETTINGS)).view
        job.estimate = view.estimate if view and view.estimate else NO_ESTIMATE
        self._nudge()

    def _run(self, call: ScriptCall[T]) -> T:
        now = START_MS + round(self.now_s * 1000)
        return self._store.run(replace(call, arguments={**call.arguments, "now": now}))

    def _heartbeat(self) -> None:
        for engine in self._engines:
            self._run(jobs.beat(engine.name, LANE, rows=engine.rows, slots=engine.slots))
        self.at(self.now_s + HEARTBEAT_S, self._heartbeat)

    def _nudge(self) -> None:
        free = [engine for engine in self._engines if engine.has_place]
        if free:
            self._look_soon(self._dice.choice(free))

    def _look_soon(self, engine: Engine) -> None:
        pause = self._dice.lognormvariate(math.log(CLAIM_MEDIAN_S), CLAIM_SPREAD)
        self.at(self.now_s + pause, partial(self._look, engine))

    def _look(self, engine: Engine) -> None:
        if not engine.has_place:
            self._nudge()
            return
        if claim := self._run(jobs.claim(engine.name, LANE)):
            self.jobs[claim.id].begun_s = self.now_s
            self.waiting -= 1
            engine.prepared.append(claim)
            self._compute(engine)

    def _compute(self, engine: Engine) -> None:
        while engine.prepared and engine.computing < engine.rows:
            claim = engine.prepared.pop(0)
            engine.computing += 1
            done_s = self.now_s + self.jobs[claim.id].service_s
            self.at(done_s, partial(self._settle, engine, claim))

    def _settle(self, engine: Engine, claim: Claim) -> None:
        answer = jobs.answer(compute_s=self.jobs[claim.id].service_s)
        self._run(jobs.settle(claim, answer))
        engine.computing -= 1
        self._compute(engine)
        self._look_soon(engine)

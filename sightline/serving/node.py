"""The agent of one machine: loads models on its devices by what waits for them, and runs their workers.

Each look reads what waits and which workers there are, lets the policy (`residency.py`) decide, and starts
and stops workers. A model leaves as a worker does: it claims no more, and finishes what it computes.
"""

import asyncio
import math
import signal
import socket
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Literal, TypeVar

from shared import ids
from shared.backoff import backoff_s
from shared.errors import Unavailable
from shared.fleet import Fleet
from shared.models import Model, may_be_on_hub
from shared.registry import Registry
from shared.store.models import registrations
from shared.store.script import ScriptCall, Store
from shared.store.workers import beat, fleet, node_beat, place
from sightline.exits import CommandError, Exit
from sightline.model_setup.download import check_on_hub
from sightline.serving.child import Child
from sightline.serving.demand import Copy, Demand, Device
from sightline.serving.devices import CPU, Devices
from sightline.serving.load_forecast import begins_in_s, turn_s, unfit
from sightline.serving.plan import Plan
from sightline.serving.residency import Look, Rules, Unload, decide
from sightline.serving.supervisor import SETTLED_S, Supervisor, death, log_of

Reply = TypeVar("Reply")
LOOK_S = 0.25
TELL_S = 1.0
"""Between two beats, in which it also learns which models were added and removed."""
LONGEST_PAUSE_S = 600.0
"""The longest pause between two tries to load a model that fails."""
MOST_LOSSES = 3
"""Loads in a row whose process was killed, after which a model counts as one that cannot be loaded."""
MODEL_FAILED = 71
"""Exit code of a worker that reported why its model cannot be loaded (docs/fleet.md)."""
REFUSED_S = 60.0
"""Keep demand alive this long after a 503."""
MEASURED_AFTER_S = 2.0
"""In main memory: after its model a worker loads Celery's consumer, half of what a small one takes."""
LAST_CALLS_S = 5.0
"""Seconds that a stop waits for a look or a call of the store that hangs."""
BOOT_S, UNLOAD_S = 1.0, 1.0
"""Assumed before the first worker has started, and before a model was unloaded."""


@dataclass
class Traffic:
    """When a model was used last, and what became of its loads; `failures` in a row since it was settled.

    `losses` counts loads in a row that ended without a reason; `death` is why the model counts as failed.
    `refused_ms` is when a caller got a 503 that has not come back yet, `served_ms` when a worker was last
    ready, `unload_ms` the last unloading by an operator that this node has carried out. `on_hub` is whether
    the hub has the model, False while it is asked.
    """

    model: Model
    used: float
    arrivals: int | None = None
    served_ms: int = 0
    refused: float = 0.0
    refused_ms: int | None = None
    unload_ms: float | None = None
    unload_s: float = UNLOAD_S
    failures: int = 0
    losses: float = 0
    not_before: float = 0.0
    death: CommandError | None = None
    on_hub: bool | None = None
    unloaded: str = ""
    unfit: str = ""

    def note(self, now: float, seen: Fleet) -> None:
        """Note whether the model was used since the last look."""
        lane, before = seen.lane, self.arrivals
        came = before is not None and lane.arrivals > before
        self.arrivals = lane.arrivals
        if seen.wanted_ms:
            self.refused, self.refused_ms = now, seen.wanted_ms
        elif came or now - self.refused > REFUSED_S:
            self.refused_ms = None
        if came or lane.queued or lane.running or self.refused_ms:
            self.used = now

    def fail(self, now: float, error: CommandError, losses: float) -> float:
        """Note a death that counts as this many `losses`; return the pause before the next load."""
        self.failures, self.losses = self.failures + 1, self.losses + losses
        self.death = error if self.losses >= MOST_LOSSES else self.death
        pause_s = backoff_s(self.failures, longest_s=LONGEST_PAUSE_S)
        self.not_before = now + pause_s
        return pause_s


@dataclass(eq=False)
class Worker:
    """A process of ours with a copy of a model; `id` is its name in the records."""

    model: Model
    device: str
    id: str
    number: int
    child: Child
    since: float
    traffic: Traffic
    free_before_mb: float = 0.0
    state: Literal["loading", "resident", "leaving"] = "loading"
    busy: int = 0
    measured: bool = False

    @property
    def copy(self) -> Copy:
        return Copy(self.device, self.state, self.since, self.busy)


@dataclass(eq=False)
class Node:
    """Runs under a supervisor; `copies` of each model are loaded if there is room."""

    supervisor: Supervisor
    plan: Plan
    registry: Registry
    store: Store
    devices: Devices
    say: Callable[[str], None]
    copies: int = 1
    id: str = field(default_factory=ids.worker_id)

    def __post_init__(self) -> None:
        node = self.plan.settings.node
        self._rules = Rules(node.min_resident_s, node.max_wait_s)
        self._workers: list[Worker] = []
        self._traffic: dict[str, Traffic] = {}
        self._told = 0.0
        self._tasks: set[asyncio.Task[None]] = set()
        self._death: CommandError | None = None
        self._boot_s = BOOT_S
        """Seconds that the last worker took until it began to load."""
        self._trouble = ""
        self.rests = False
        """Whether nothing is loaded, and nothing was to be done at the last look."""

    async def run(self) -> None:
        """Look, decide and act until cancelled; then end all workers, and say that this node is gone."""
        looking = None
        try:
            while True:
                looking = asyncio.create_task(self.look())
                try:
                    await asyncio.shield(looking)
                    self._note("")
                except Unavailable as error:
                    self._note(error.message)
                except Exception as error:
                    # The outermost frame of a look: the next one may go better.
                    self._note(f"{type(error).__name__}: {error}")
                await asyncio.sleep(LOOK_S)
        finally:
            # What a look has begun must be ended, unless the store or the fork server hangs.
            last = asyncio.gather(*([looking] if looking else []), return_exceptions=True)
            with suppress(TimeoutError):
                await asyncio.wait_for(last, LAST_CALLS_S)
            await self._close()

    def _note(self, trouble: str) -> None:
        """Say once what keeps it from looking; otherwise show in its heartbeat file that it looks."""
        if trouble != self._trouble:
            self.say(f"node     {trouble or 'looks again'}")
        self._trouble = trouble
        if (file := self.plan.settings.heartbeat_file) and not trouble:
            file.write_text("ready", encoding="ascii")

    async def _close(self) -> None:
        rest = [worker for worker in self._workers if worker.state != "leaving"]
        await asyncio.gather(*self._tasks, *(self.supervisor.end(worker.child) for worker in rest))
        lanes = {model.lane: dict[str, str]() for model in self.registry.models.rows}
        farewell = self._stored(node_beat(self.plan.settings, node=self.id, lanes=lanes, gone=True))
        last = asyncio.gather(farewell, *(self._retract(worker.model, worker.id, {}) for worker in rest))
        with suppress(Unavailable, TimeoutError):
            await asyncio.wait_for(last, LAST_CALLS_S)

    async def look(self) -> None:
        """Look once, and do what follows from it. Raises Unavailable."""
        now = time.monotonic()
        tells = now - self._told > TELL_S
        if tells:
            self.registry.take(await self._stored(registrations()))
            self._told = now
        models = {model.lane: model for model in self.registry.models.rows}
        # A model that comes back is tried anew.
        self._traffic = {lane: one for lane, one in self._traffic.items() if lane in models}
        fleets_in_order = await self._stored(fleet(self.plan.settings, list(models)))
        fleets = dict(zip(models, fleets_in_order, strict=True))
        for lane, model in models.items():
            self._follow(now, model, fleets[lane])
        if {one.id for one in self._workers} - {one.id for seen in fleets_in_order for one in seen.workers}:
            self.supervisor.reap()
        demands = [self._demand(now, model, fleets[lane]) for lane, model in models.items()]
        rooms = self._rooms(models)
        known = {lane: len(fleets[lane].workers) for lane in models}
        moves = decide(now, rooms, demands, self._rules)
        for move in moves:
            if isinstance(move, Unload):
                self._unload(models[move.lane], move.device, move.reason)
            else:
                await self._load(models[move.lane], move.device, known[move.lane])
                known[move.lane] += 1
        for worker in self._workers:
            if models.get(worker.model.lane) != worker.model:
                self._unload(worker.model, worker.device, "its model was removed")
        tries_again = any(traffic.losses and not traffic.death for traffic in self._traffic.values())
        self.rests = not (moves or tries_again) and all(worker.state != "loading" for worker in self._workers)
        if tells or moves:
            await self._tell(Look(now, rooms, demands, self._rules), demands, fleets)

    @property
    def resident(self) -> list[Model]:
        """Return the models that are loaded here, in the catalogue's order."""
        loaded = [worker.model for worker in self._workers if worker.state == "resident"]
        return [model for model in self.registry.models.rows if model in loaded]

    @property
    def failed(self) -> CommandError | None:
        """Return what died last if no model is left that can be served."""
        deaths = [self._seen(model).death for model in self.registry.models.rows]
        return self._death if deaths and all(deaths) and not self._workers else None

    async def _stored(self, call: ScriptCall[Reply]) -> Reply:
        return await asyncio.to_thread(self.store.run, call)

    def _seen(self, model: Model) -> Traffic:
        traffic = self._traffic.get(model.lane)
        if traffic is None or traffic.model != model:
            traffic = self._traffic[model.lane] = Traffic(model, used=time.monotonic())
            self.devices.forget(model)
        return traffic

    def _rooms(self, models: Mapping[str, Model]) -> list[Device]:
        """Return what the devices have beside workers of rows that are gone or were changed."""
        rooms = {device.name: device.room for device in self.devices.all}
        for worker in self._workers:
            if models.get(worker.model.lane) != worker.model:
                for name in worker.copy.place:
                    rooms[name] -= self.devices.need(worker.model) / len(worker.copy.place)
        return [Device(name, room) for name, room in rooms.items()]

    def _here(self, model: Model) -> list[Worker]:
        return [worker for worker in self._workers if worker.model == model]

    def _follow(self, now: float, model: Model, seen: Fleet) -> None:
        """Take over what workers report, what has arrived, and whether an operator unloaded the model."""
        traffic, reports = self._seen(model), {report.id: report for report in seen.workers}
        traffic.note(now, seen)
        if seen.lane.unload_ms not in (None, traffic.unload_ms):
            traffic.unload_ms = seen.lane.unload_ms
            for worker in self._here(model):
                self._unload(model, worker.device, f"{seen.lane.unload_by or 'an operator'} unloaded it")
        for worker in self._here(model):
            report = reports.get(worker.id)
            worker.busy = report.busy if report else 0
            if report and report.state == "ready" and worker.state == "loading":
                self._boot_s = max(now - worker.since - (seen.lane.load_ms or 0) / 1000, 0.0)
                worker.state, worker.since = "resident", now
                self.say(f"model    {model.id}: ready")
                traffic.death, traffic.losses, traffic.not_before = None, 0, 0.0
            after_s = MEASURED_AFTER_S if worker.device == CPU else 0.0
            if worker.state == "resident" and not worker.measured and now - worker.since >= after_s:
                worker.measured = True
                taken = (model, worker.device, worker.child.pid, worker.free_before_mb)
                self._begin(asyncio.to_thread(self.devices.measure, *taken))
            if worker.state == "resident" and now - worker.since > SETTLED_S:
                traffic.failures = 0

    def _demand(self, now: float, model: Model, seen: Fleet) -> Demand:
        lane, traffic, here = seen.lane, self._seen(model), self._here(model)
        own = {worker.id for worker in here}
        load_s = (lane.load_ms or lane.load_guess_ms or model.folder.load_guess_s * 1000) / 1000
        traffic.served_ms = lane.now_ms if lane.ready else traffic.served_ms
        since: float | None = None if lane.paused else seen.oldest_ms
        if since is not None:
            since = max(since, (lane.resident_ms or 0) if lane.ready else traffic.served_ms)
        elif not lane.ready:
            since = traffic.refused_ms
        return Demand(
            lane=model.lane,
            need=self._need(model),
            load_s=load_s + self._boot_s,
            unload_s=traffic.unload_s,
            devices=self.devices.of(model),
            waits_s=None if since is None or lane.loading else max(lane.now_ms - since, 0) / 1000,
            idle_s=now - traffic.used,
            copies=tuple(worker.copy for worker in here),
            elsewhere=len([report for report in seen.workers if report.id not in own]),
            spans=self.devices.spans(model),
            always=model.resident == "always",
            keep_alive_s=model.keep_alive_s,
            copies_wanted=self.copies,
            drains=(lane.service_ms or math.inf) / 1000 < self.plan.settings.queue.drain_s,
            retry_at_s=traffic.not_before,
            failed=bool(traffic.death) or lane.state == "failed" or self._is_doubtful(now, model, seen),
            unloaded=lane.unload_ms is not None,
            model=model.id,
        )

    def _is_doubtful(self, now: float, model: Model, seen: Fleet) -> bool:
        """Return True until the hub has a model that was never loaded: a mistyped id evicts no other."""
        traffic, here = self._seen(model), bool(self._here(model) or model.folder.files)
        if traffic.on_hub or here or seen.lane.load_ms or not may_be_on_hub(model.source):
            return False
        asked = seen.oldest_ms or traffic.refused_ms
        if asked and now >= traffic.not_before and traffic.on_hub is None:
            traffic.on_hub = False
            self._begin(self._ask_hub(model, traffic))
        return True

    async def _ask_hub(self, model: Model, traffic: Traffic) -> None:
        try:
            await asyncio.to_thread(check_on_hub, model)
            traffic.on_hub = True
        except CommandError as error:
            traffic.on_hub = None
            pause_s = traffic.fail(time.monotonic(), error, math.inf)
            self.say(f"model    {model.id}: cannot be loaded: {error}")
            await self._retract(model, self.id, {"failed": f"{error} (tried again in {pause_s:g} s)"})

    def _need(self, model: Model) -> int:
        """Return its bytes; an unmeasured model claims the whole device, minus pinned models."""
        need = self.devices.need(model)
        if need != int(self.devices.room(model)):
            return need
        return max(need - self._kept(model), 0)

    def _kept(self, model: Model) -> int:
        """Return the bytes of other rows that never leave."""
        kept = [one.model for one in self._workers if one.model.resident == "always" and one.model != model]
        return sum(map(self.devices.need, kept))

    async def _load(self, model: Model, device: str, known: int) -> None:
        """Start a worker, unless another node has started one since this look."""
        id, traffic = ids.worker_id(), self._seen(model)
        numbers = {worker.number for worker in self._workers if worker.model.lane == model.lane}
        record = {"host": socket.gethostname(), "since": f"{time.time():.3f}"}
        call = place(self.plan.settings, worker=id, lane=model.lane, known=known, record=record)
        if await self._stored(call) == "taken":
            return
        free_mb = 0.0 if device == CPU else await asyncio.to_thread(self.devices.free_mb, device)
        number = next(number for number in count(1) if number not in numbers)
        more = {"SIGHTLINE_WORKER__ID": id, **self.devices.environment(model, device)}
        if self.registry.has_row(model):
            # The file may have changed since this node read it.
            more["SIGHTLINE_WORKER__ROW"] = model.model_dump_json(exclude_defaults=True)
        try:
            if self.plan.fork_server:
                await self.plan.fork_server.warm()
            child = self.supervisor.start(self.plan.worker(model, number, more), self._died)
        except (CommandError, OSError) as error:
            self._death = CommandError(Exit.CHILD, str(error))
            traffic.fail(time.monotonic(), self._death, 1)
            self.say(f"worker   {model.id} is not started yet: {error}")
            await self._retract(model, id, {"failed": str(error)} if traffic.death else {})
            return
        self._workers.append(Worker(model, device, id, number, child, time.monotonic(), traffic, free_mb))
        self.say(f"worker   {model.id} ({model.engine}, {device})")

    def _died(self, child: Child) -> None:
        worker = next(worker for worker in self._workers if worker.child is child)
        if worker.state == "leaving":
            return
        self._workers.remove(worker)
        losses = math.inf if child.exit_code == MODEL_FAILED else float(worker.state == "loading")
        self._death, self.rests = death(child), False
        pause_s = worker.traffic.fail(time.monotonic(), self._death, losses)
        more = f"restarting it in {pause_s:g} s; {log_of(child)} has more"
        self.say(f"{child.command.name} died ({child.ending}), {more}")
        self._begin(self._report(worker, pause_s))

    async def _report(self, worker: Worker, pause_s: float) -> None:
        """Say for a dead process that it is gone, and why its model failed if it did."""
        child, model, failures = worker.child, worker.model, worker.traffic.failures
        if worker.state != "loading":
            await self._retract(model, worker.id, {})
            return
        memory = ", as where memory runs out," if child.exit_code == -signal.SIGKILL else ""
        reason = f"its process ended with {child.ending}{memory} while it loaded; its log has more"
        with suppress(Unavailable):
            if child.exit_code == MODEL_FAILED:
                [seen] = await self._stored(fleet(self.plan.settings, [model.lane]))
                reason = seen.lane.failed or reason
            if "memory" in reason.lower():
                self.devices.exceeded(model, self._kept(model))
            facts = {}
            if worker.traffic.death:
                self.say(f"model    {model.id}: cannot be loaded: {reason}")
                facts["failed"] = f"{reason} (tried again in {pause_s:g} s, failure {failures} in a row)"
            await self._retract(model, worker.id, facts)

    async def _retract(self, model: Model, worker: str, facts: dict[str, str]) -> None:
        call = beat(self.plan.settings, worker=worker, lane=model.lane, state="gone", facts=facts)
        with suppress(Unavailable, TimeoutError):
            await asyncio.wait_for(self._stored(call), LAST_CALLS_S)

    def _unload(self, model: Model, device: str, reason: str) -> None:
        """Stop one of the model's workers on this device."""
        there = (one for one in self._here(model) if one.device == device and one.state != "leaving")
        if worker := next(there, None):
            if worker.state == "resident":
                # It served until it had to go: an earlier crash does not count any more.
                worker.traffic.failures = 0
            worker.state, worker.since = "leaving", time.monotonic()
            self._begin(self._leave(worker, reason))

    async def _leave(self, worker: Worker, reason: str) -> None:
        """Stop a worker once it has answered what it has begun."""
        self.say(f"model    {worker.model.id} leaves {worker.device}: {reason}")
        worker.traffic.unloaded = reason
        # Its own next beat comes later, and until then callers would be promised an answer at once.
        await self._retract(worker.model, worker.id, {})
        await self.supervisor.end(worker.child)
        worker.traffic.unload_s = time.monotonic() - worker.since
        self._workers.remove(worker)

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _tell(self, look: Look, demands: Sequence[Demand], fleets: Mapping[str, Fleet]) -> None:
        """Beat, with what callers of models that are not loaded are told."""
        lanes = {}
        for demand in demands:
            seen, why = fleets[demand.lane], unfit(look, demand)
            traffic = self._traffic[demand.lane]
            if why and not traffic.unfit:
                self.say(f"model    {demand.model} cannot be loaded on this machine: {why}")
            traffic.unfit = why
            if why and not (seen.workers or seen.lane.cold or seen.lane.failed):
                await self._retract(traffic.model, self.id, {"failed": f"no machine has room for it: {why}"})
            lanes[demand.lane] = {"unfit": "1"} if why else self._foreseen(look, demands, demand)
        at_ms = max((one.lane.now_ms for one in fleets.values()), default=0)
        await self._stored(node_beat(self.plan.settings, node=self.id, lanes=lanes, at_ms=at_ms))

    def _foreseen(self, look: Look, demands: Sequence[Demand], demand: Demand) -> dict[str, str]:
        begins_s = max(begins_in_s(look, demands, demand), demand.retry_at_s - look.now_s)
        waits_s = {"load_in_ms": begins_s + self._boot_s, "load_turn_ms": turn_s(look, demand)}
        facts = {name: f"{seconds * 1000:.0f}" for name, seconds in waits_s.items()}
        traffic = self._traffic[demand.lane]
        unloaded, traffic.unloaded = traffic.unloaded, ""
        return facts | ({"unloaded": unloaded} if unloaded else {})

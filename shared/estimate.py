"""When a waiting job will begin, from what was measured; never a constant.

Loading: the model's last measured load time less what has passed. Never loaded: the weights' bytes over the
measured read rate. Cold: what its node foresees until it begins to load, and the load. Queued: the runs
ahead over the rows that serve, at the measured service time of a run (of all its answers together). The sum
is told times two factors (for p50 and p90) that the store learns by scoring earlier estimates
(`functions/estimates.lua`, which computes the same). Waiting work counts by runs, claimed work by the rows
that it takes.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import field, replace

from shared.job import Estimate, WaitingReason
from shared.tool_calls.syntax import Known
from shared.value_object import value_object

FIRST_SERVICE_MS = 1000.0
"""Assumed before the first run of a model has ended; the basis then says `guess`."""
FREE_MS = 3.0
"""How long a claim takes where a row is free; the factors learn the true value."""
FIRST_FACTORS = {"free": (1.0, 3.0), "busy": (1.0, 3.0), "cold": (1.0, 2.0)}


@value_object
class Calibration:
    """How good the model's estimates were: the shares of about its last thousand runs that began in time."""

    scored: int
    within_p50: float
    within_p90: float


@value_object
class LastWorker:
    """The worker that beat last, alive or not."""

    id: str
    host: str
    seen_ms: float


@value_object
class Lane:
    """One model's workers, line and last measurements; times in ms. `ahead` is -1 outside the line.

    `running` counts claimed runs: a worker claims up to `slots` rows of them, a few more than it has, to
    prepare the next pictures. `extra_running` and `extra_queued` are the rows that runs with several answers
    take beyond one each; `arrivals` is how much ever got into the line;
    `rows` and `slots` are the mean of its workers. `first_queued_ms` is since when the first in line waits;
    only a lane read alone has it.

    `cold` counts the nodes that load the model when it is asked for, `load_in_ms` is how long until the first
    of them would begin. Since `resident_ms` some worker is ready; `unloaded` and `unloaded_ms` are why and
    when the model was unloaded last.

    `failed` is why the last load failed, where none succeeded since. `samples` is whether the
    model's own generation config draws at random; it is None until a worker told it.
    `tools` is the form in which the model calls functions, "" where it takes none; `sampling_rate` (Hz) is
    that of the sounds it takes, 0 where it takes none; `max_side` (pixels) is what pictures are shrunk to,
    None where they are not; `videos` is whether it takes them; `token_rule` is a `TokenRule`, dumped.
    `factors` are those of p50 and p90, apart for `free` (a row is free for the next run), `busy` and `cold`.
    `paused_by`, `draining_by` and `unload_by` are operators' names. At `unload_ms` an operator unloaded the
    model; None once a request came since.
    """

    ready: int
    loading: int
    queued: int
    running: int
    now_ms: int
    first_queued_ms: float | None = None
    extra_queued: int = 0
    extra_running: int = 0
    arrivals: int = 0
    rows: float = 1
    slots: float = 1
    service_ms: float | None = None
    load_started_ms: float | None = None
    load_ms: float | None = None
    load_guess_ms: float | None = None
    load_basis: str = ""
    cold: int = 0
    load_in_ms: float | None = None
    resident_ms: float | None = None
    unloaded: str | None = None
    unloaded_ms: float | None = None
    failed: str | None = None
    samples: bool | None = None
    tools: Known | None = None
    sampling_rate: int | None = None
    videos: bool | None = None
    max_side: int | None = None
    context_length: int | None = None
    engine: str | None = None
    engine_reason: str | None = None
    token_rule: str | None = None
    paused: bool = False
    paused_at_ms: float | None = None
    paused_by: str | None = None
    draining: bool = False
    draining_at_ms: float | None = None
    draining_by: str | None = None
    unload_ms: float | None = None
    unload_by: str | None = None
    last_worker: LastWorker | None = None
    factors: Mapping[str, Sequence[float]] = field(default_factory=dict)
    calibration: Calibration | None = None
    ahead: int = -1

    @property
    def places(self) -> float:
        """Runs that can be computed at once, one worker at least assumed."""
        return max(self.ready, 1) * self.rows

    @property
    def rows_taken(self) -> int:
        """Rows that the claimed runs take, begun or not."""
        return self.running + self.extra_running

    @property
    def served_first(self) -> int:
        """Runs that will be begun before one at `ahead`; more urgent ones may still come."""
        return max(self.ahead, 0) + int(max(self.over(self.places), 0))

    def over(self, places: float) -> float:
        """Claimed runs for which `places` have no row; below 0, the rows that are free."""
        rows = self.rows_taken - places
        return rows * self.running / self.rows_taken if rows > 0 else rows

    @property
    def first_waited_s(self) -> float:
        """How long the first in line has waited so far; 0 for an empty line."""
        return 0.0 if self.first_queued_ms is None else (self.now_ms - self.first_queued_ms) / 1000

    @property
    def state(self) -> str:
        """ready, failed, loading, cold or no_worker.

        One that could not be loaded is failed also while that is tried again: waiting is no use to callers.
        """
        if self.ready:
            return "ready"
        if self.failed is not None:
            return "failed"
        if self.loading:
            return "loading"
        return "cold" if self.cold else "no_worker"


def waiting_reason(lane: Lane, *, placed: bool, state: str | None) -> WaitingReason:
    """Why a job waits; `placed` = it has a run, `state` is that of the run or of the job itself."""
    if state == "retrying":
        return "retrying"
    if not placed:
        return "fetching_inputs"
    if lane.paused:
        return "paused"
    if lane.ready:
        return "busy"
    return "model_loading" if lane.loading or lane.cold else "no_worker"


def loading_time(lane: Lane, fallback_s: float = 1.0) -> tuple[float, str]:
    """Seconds until the model is ready, and what that rests on; at least 1 while it is not.

    `fallback_s` stands in where no worker ever said anything of this model.
    """
    if lane.ready:
        return 0.0, "measured"
    whole, basis = _whole_load(lane, fallback_s)
    if not lane.loading and lane.cold:
        return max((lane.load_in_ms or 0) / 1000 + whole, 1.0), basis
    if not lane.loading:
        return max(whole, 1.0), "guess" if basis == "guess" else "no_worker"
    passed = lane.now_ms - (lane.load_started_ms or lane.now_ms)
    # One that takes longer than expected will take a while yet.
    return max(whole - passed / 1000, passed / 4000, 1.0), basis


def _whole_load(lane: Lane, fallback_s: float) -> tuple[float, str]:
    if lane.load_ms is not None:
        return lane.load_ms / 1000, "measured"
    if lane.load_guess_ms is not None:
        return lane.load_guess_ms / 1000, lane.load_basis
    return fallback_s, "guess"


def estimate(lane: Lane) -> Estimate:
    """Until a worker claims a job at `lane.ahead`, and from there to its end, in seconds."""
    wait, kind = _estimated(lane, lane.slots)
    # A worker holds what it has claimed until a row is free.
    delay = max(_estimated(lane, lane.rows)[0] - wait, 0)
    takes = round(delay + (lane.service_ms or FIRST_SERVICE_MS) / 1000, 3)
    basis = "measured" if lane.service_ms is not None else "guess"
    if not lane.ready:
        load, basis = loading_time(lane)
        wait, kind = load + wait, "cold"
    half, most = (factor * wait for factor in lane.factors.get(kind, FIRST_FACTORS[kind]))
    return Estimate(round(half, 3), round(max(half, most), 3), takes, basis)


def estimate_batch(lane: Lane, untaken: int, closes_s: float) -> Estimate:
    """Until a batch's last line begins: after all that waits now, and the lines not taken yet.

    No later than its window `closes_s`: then it ends with what it has.
    """
    last = estimate(replace(lane, ahead=lane.queued + untaken))
    half, most = (min(wait, max(closes_s - last.service_s, 0)) for wait in (last.p50, last.p90))
    return replace(last, p50=half, p90=most)


def claimed_s(lane: Lane) -> float:
    """What one of the claimed runs takes to its end, in seconds: on average, as it may have begun or wait."""
    over = max(lane.over(lane.places), 0)
    # Each of those that wait for a row waits one turn of the rows longer than the one before it.
    turns = 1 + over**2 / (2 * lane.places * max(lane.running, 1))
    return round(turns * (lane.service_ms or FIRST_SERVICE_MS) / 1000, 3)


def _estimated(lane: Lane, places: float) -> tuple[float, str]:
    """Seconds until one of a worker's `places` is free; what is being computed counts as half done."""
    over = max(lane.ahead, 0) + lane.over(max(lane.ready, 1) * places)
    if over < 0:
        return FREE_MS / 1000, "free"
    turns = (over + (0.5 if lane.running else 1)) / lane.places
    return turns * (lane.service_ms or FIRST_SERVICE_MS) / 1000, "busy"


def advised_s(seconds: float | None) -> int:
    """A `retry_after` as callers get it: whole seconds from 1 to 59.

    Clients read 0 as "at once", and the AI SDK ignores advice of a minute or more.
    """
    return max(1, min(59, math.ceil(seconds or 1)))

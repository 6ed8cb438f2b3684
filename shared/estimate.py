"""When a waiting job will end, from what was measured; never a constant.

Loading: the model's last measured load time less what has passed. Never loaded: the weights' bytes over the
measured read rate. Queued: what is ahead over the rows that serve, at the measured service time.
"""

from dataclasses import dataclass

from shared.job import Estimate, WaitingReason

FIRST_SERVICE_MS = 1000.0
"""Assumed before the first run of a model has ended; the basis then says `guess`."""


@dataclass(frozen=True)
class Lane:
    """One model's workers, line and last measurements; times in ms. `ahead` is -1 outside the line.

    `running` counts claimed runs: a worker claims a few more than it has rows, to prepare the next pictures.

    `failed` is the reason of the last load that failed, at `failed_ms`, where none succeeded since. `samples`
    is whether the model's own generation config draws at random; like `has_chat_template` it is None before
    any worker said so.
    """

    ready: int
    loading: int
    queued: int
    running: int
    now_ms: int
    rows: int = 1
    service_ms: float | None = None
    load_started_ms: float | None = None
    load_ms: float | None = None
    load_guess_ms: float | None = None
    load_basis: str = ""
    failed: str | None = None
    failed_ms: float = 0.0
    samples: bool | None = None
    has_chat_template: bool | None = None
    context_length: int | None = None
    ahead: int = -1

    @property
    def places(self) -> int:
        """Runs that can be computed at once, one worker at least assumed."""
        return max(self.ready, 1) * self.rows

    @property
    def served_first(self) -> int:
        """Runs that will be begun before one at `ahead`; more urgent ones may still come."""
        return max(self.ahead, 0) + max(self.running - self.places, 0)

    @property
    def state(self) -> str:
        """ready, failed, loading or no_worker."""
        if self.ready:
            return "ready"
        if self.loading and (self.failed is None or (self.load_started_ms or 0) > self.failed_ms):
            return "loading"
        return "no_worker" if self.failed is None else "failed"


def waiting_reason(lane: Lane, *, placed: bool) -> WaitingReason:
    """Why a queued job waits."""
    if not placed:
        return "fetching_inputs"
    if lane.ready:
        return "busy"
    return "model_loading" if lane.loading else "no_worker"


def loading_time(lane: Lane, fallback_s: float = 1.0) -> tuple[float, str]:
    """Seconds until the model is ready, and what that rests on; at least 1 while it is not.

    `fallback_s` stands in where no worker ever said anything of this model.
    """
    if lane.ready:
        return 0.0, "measured"
    whole, basis = _whole_load(lane, fallback_s)
    if not lane.loading:
        return max(whole, 1.0), "guess" if basis == "guess" else "no_worker"
    passed = lane.now_ms - (lane.load_started_ms or lane.now_ms)
    return max(whole - passed / 1000, 1.0), basis


def _whole_load(lane: Lane, fallback_s: float) -> tuple[float, str]:
    if lane.load_ms is not None:
        return lane.load_ms / 1000, "measured"
    if lane.load_guess_ms is not None:
        return lane.load_guess_ms / 1000, lane.load_basis
    return fallback_s, "guess"


def estimate(lane: Lane) -> Estimate:
    """Until a job at `lane.ahead` ends, in seconds."""
    service = lane.service_ms or FIRST_SERVICE_MS
    turns = 1 + (_turns_before(lane) if lane.ahead >= 0 else 0.0)
    load, basis = loading_time(lane)
    p50 = load + turns * service / 1000
    if not lane.ready:
        return Estimate(round(p50, 3), round(2 * p50, 3), basis)
    basis = "measured" if lane.service_ms is not None else "guess"
    return Estimate(round(p50, 3), round(1.5 * p50, 3), basis)


def _turns_before(lane: Lane) -> float:
    """Service times until a place is free; what is being computed counts as half done (submit.lua too)."""
    computed = min(lane.running, lane.places)
    over = lane.served_first - (lane.places - computed)
    return (over + (0.5 if computed else 1.0)) / lane.places if over >= 0 else 0.0

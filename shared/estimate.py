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

    `failed` is the reason of the last load that failed, where none succeeded since. `samples` is whether the
    model's own generation config draws at random, None before any worker said so.
    """

    ready: int
    loading: int
    queued: int
    now_ms: int
    rows: int = 1
    service_ms: float | None = None
    load_started_ms: float | None = None
    load_ms: float | None = None
    load_guess_ms: float | None = None
    load_basis: str = ""
    failed: str | None = None
    samples: bool | None = None
    context_length: float | None = None
    ahead: int = -1

    @property
    def state(self) -> str:
        """ready, failed, loading or no_worker."""
        if self.ready:
            return "ready"
        if self.failed is not None:
            return "failed"
        return "loading" if self.loading else "no_worker"


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
    servers = max(lane.ready, 1) * lane.rows
    turns = max(lane.ahead, 0) / servers + 1
    load, basis = loading_time(lane)
    p50 = load + turns * service / 1000
    if not lane.ready:
        return Estimate(round(p50, 3), round(2 * p50, 3), basis)
    basis = "measured" if lane.service_ms is not None else "guess"
    return Estimate(round(p50, 3), round(1.5 * p50, 3), basis)

"""How ready a model is, and what a caller who cannot wait is told."""

from dataclasses import dataclass, replace

from shared.errors import ModelFailed, ServiceError, Unavailable
from shared.estimate import FIRST_SERVICE_MS, Calibration, Lane, Reused, loading_time
from shared.models import Model

PAUSED_RETRY_S = 60.0
"""When to ask again for a paused model, of which nothing is known of when it goes on."""


@dataclass(frozen=True)
class ModelState:
    """`state` is ready, loading, no_worker or failed; `estimated_time` in seconds until it is ready, or until
    who is told that it is paused (so the `basis` says then) asks again.

    `engine` and `engine_reason`: what computes the answers and why, as the last worker to load the model
    said. `reused` is what a worker knew of its requests already, as the last to beat said. `calibration` is
    how the promises to waiting callers did.
    """

    state: str
    workers: int
    queued: int
    estimated_time: float
    basis: str
    reason: str | None = None
    engine: str | None = None
    engine_reason: str | None = None
    reused: Reused | None = None
    paused: bool = False
    draining: bool = False
    calibration: Calibration | None = None

    @property
    def standing(self) -> str:
        """What who asks now meets: `state`, or draining, or in place of ready paused."""
        if self.draining and self.state != "failed":
            return "draining"
        return "paused" if self.paused and self.state == "ready" else self.state


def model_state(model: Model, lane: Lane) -> ModelState:
    seconds, basis = loading_time(lane, model.folder.load_guess_s)
    workers = lane.ready + lane.loading
    state = ModelState(
        lane.state,
        workers,
        lane.queued,
        round(seconds, 3),
        basis,
        lane.failed,
        lane.engine,
        lane.engine_reason,
        lane.reused,
        lane.paused,
        lane.draining,
        lane.calibration,
    )
    if state.standing == "paused":
        return replace(state, estimated_time=PAUSED_RETRY_S, basis="paused")
    return state


def model_failed(model: str, reason: str | None) -> ModelFailed:
    """Waiting does not help before its operator has mended it."""
    return ModelFailed(f"The model {model} cannot be loaded: {reason}")


def paused(model: Model) -> Unavailable:
    """Clients read `estimated_time` of every 503."""
    message = f"The model {model.id} is paused."
    return Unavailable(
        "model_paused",
        message,
        retry_after=PAUSED_RETRY_S,
        estimated_time=PAUSED_RETRY_S,
        basis="paused",
    )


def draining(model: Model) -> Unavailable:
    return Unavailable("model_draining", f"The model {model.id} is being drained: it takes no new jobs.")


def not_ready(model: Model, state: ModelState) -> ServiceError:
    """The 503 of a model that answers nobody now, or the 500 of one that never will."""
    if state.standing == "failed":
        return model_failed(model.id, state.reason)
    if state.standing == "draining":
        return draining(model)
    if state.standing == "paused":
        return paused(model)
    loading = state.standing == "loading"
    return Unavailable(
        "model_loading" if loading else "no_worker",
        f"Model {model.id} {'is loading' if loading else 'has no worker'}.",
        retry_after=state.estimated_time,
        estimated_time=state.estimated_time,
        basis=state.basis,
    )


def line_full(word: str, model: Model, lane: Lane, most_queued: int) -> Unavailable:
    """`word` is what submit.lua says: full, crowded by the caller's own (`most_queued` runs), or slow for a
    caller who waits.
    """
    wait_s = (lane.service_ms or FIRST_SERVICE_MS) / 1000 * lane.queued / lane.places
    retry_after = PAUSED_RETRY_S if lane.paused else wait_s
    if word == "crowded":
        message = f"Too many of your requests wait for {model.id} already."
        return Unavailable("caller_queue_full", message, retry_after=retry_after, most_queued=most_queued)
    limit = "" if word == "full" else ", more than can be answered while you wait; submit a job"
    message = f"{lane.queued} requests wait for {model.id} already{limit}."
    return Unavailable("queue_full", message, retry_after=retry_after)

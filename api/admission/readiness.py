"""How ready a model is, and the errors for a request that is not taken.

The seconds are computed in `shared/estimate.py` (`loading_time`, and `advised_s`: what callers get).
"""

from api.dialects.native.models import ModelState
from shared.errors import CallerError, InternalError, ModelFailed, ServiceError, Unavailable
from shared.estimate import FIRST_SERVICE_MS, Lane, loading_time
from shared.models import Model

PAUSED_RETRY_S = 60.0
"""Retry-After for a paused model: nobody knows when it will be resumed."""

IDEMPOTENCY_ERRORS = {
    "mismatch": ("idempotency_mismatch", "This Idempotency-Key was used for another request."),
    "purged": ("job_purged", "The job of this Idempotency-Key was deleted."),
    "expired": (
        "result_expired",
        "The result of this Idempotency-Key's job is no longer kept; ask again under another key.",
    ),
}


def model_state(model: Model, lane: Lane) -> ModelState:
    seconds, basis = loading_time(lane, model.folder.load_guess_s)
    state = ModelState(lane, round(seconds, 3), basis)
    return ModelState(lane, PAUSED_RETRY_S, "paused") if state.standing == "paused" else state


def model_failed(model: str, reason: str | None) -> ModelFailed:
    """Waiting does not help until an operator mends the model."""
    return ModelFailed(f"The model {model} cannot be loaded: {reason}")


def paused(model: Model) -> Unavailable:
    """It has an `estimated_time`, which clients read from every 503."""
    message = f"The model {model.id} is paused; `sightline models resume {model.id}` resumes it."
    return Unavailable(
        "model_paused",
        message,
        retry_after=PAUSED_RETRY_S,
        estimated_time=PAUSED_RETRY_S,
        basis="paused",
    )


def draining(model: Model) -> Unavailable:
    return Unavailable("model_draining", f"The model {model.id} is being drained: it takes no new jobs.")


def not_ready(model: Model, state: ModelState, *, asked: bool = False) -> ServiceError:
    """The 503 of a model that answers nobody now, or the 500 of one that never will.

    `asked`: the call was a question, for which a cold model is loaded.
    """
    if state.standing == "failed":
        return model_failed(model.id, state.lane.failed)
    if state.standing == "draining":
        return draining(model)
    if state.standing == "paused":
        return paused(model)
    words = {
        "loading": "is starting",
        "cold": "is not loaded; " + ("this call asked for it" if asked else "a question loads it"),
    }
    loads = state.standing in words
    standing = f"{words[state.standing]}, about {state.estimated_time:.0f} s" if loads else "has no worker"
    return Unavailable(
        "model_loading" if loads else "no_worker",
        f"Model {model.id} {standing}.",
        retry_after=state.estimated_time,
        estimated_time=state.estimated_time,
        basis=state.basis,
    )


def idempotency_error(word: str) -> CallerError:
    """The error for a call that cannot repeat the answer of its Idempotency-Key."""
    code, message = IDEMPOTENCY_ERRORS[word]
    return CallerError(code, message, param="Idempotency-Key")


def refusal(word: str, model: Model, lane: Lane, most_queued: int) -> ServiceError:
    """The error for a word of `submit` other than those of the Idempotency-Key.

    `most_queued` of the caller's runs may wait.
    """
    match word:
        case "gone":
            return CallerError("job_not_found", "The job was deleted meanwhile.")
        case "removed":
            return CallerError("model_not_found", f"The model {model.id} was removed.", param="model")
        case "full" | "crowded":
            return queue_full(word, model, lane, most_queued)
        case "paused":
            return paused(model)
        case "draining":
            return draining(model)
        case "unready":
            return not_ready(model, model_state(model, lane), asked=True)
        case _:
            return InternalError()


def queue_full(word: str, model: Model, lane: Lane, most_queued: int) -> Unavailable:
    """`word` is full, or crowded by the caller's own runs."""
    estimate_s = (lane.service_ms or FIRST_SERVICE_MS) / 1000 * lane.queued / lane.places
    # What is being computed may take longer than what has ended, which alone was measured.
    wait_s = max(estimate_s, lane.first_waited_s)
    retry_after = PAUSED_RETRY_S if lane.paused else wait_s
    if word == "crowded":
        message = (
            f"Too many of your requests wait for {model.id} already: {most_queued:,} may "
            "(SIGHTLINE_QUEUE__MAX_QUEUED_CALLER, or your key's max_queued), or what leaves others room."
        )
        return Unavailable("caller_queue_full", message, retry_after=retry_after, most_queued=most_queued)
    message = f"{lane.queued:,} requests wait for {model.id} already (SIGHTLINE_QUEUE__MAX_QUEUED)."
    return Unavailable("queue_full", message, retry_after=retry_after)

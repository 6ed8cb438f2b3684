"""The errors for a request that the store did not make a job of."""

from api.admission.readiness import draining, line_full, model_state, not_ready, paused
from shared.errors import CallerError, InternalError, ServiceError
from shared.estimate import Lane
from shared.models import Model

KEY_REFUSALS = {
    "mismatch": ("idempotency_mismatch", "This Idempotency-Key was used for another request."),
    "purged": ("job_purged", "The job of this Idempotency-Key was deleted."),
    "expired": (
        "result_expired",
        "The result of this Idempotency-Key's job is no longer kept; ask again under another key.",
    ),
}


def of_key(word: str) -> CallerError:
    """The error for a call that cannot repeat the answer of its Idempotency-Key."""
    code, message = KEY_REFUSALS[word]
    return CallerError(code, message, param="Idempotency-Key")


def of_line(word: str, model: Model, lane: Lane, most_queued: int) -> ServiceError:
    """The error for a request that is not taken, or not now; `most_queued` of the caller's runs may wait."""
    if word == "gone":
        return CallerError("job_not_found", "The job was deleted meanwhile.")
    if word == "removed":
        return CallerError("model_not_found", f"The model {model.id} was removed.", param="model")
    if word in ("slow", "full", "crowded"):
        return line_full(word, model, lane, most_queued)
    if word == "paused":
        return paused(model)
    if word == "draining":
        return draining(model)
    if word == "unready":
        return not_ready(model, model_state(model, lane))
    return InternalError()

"""POST /v1/estimate: what would become of a job, in this service's own format."""

from dataclasses import asdict
from typing import Any

from shared.errors import ServiceError, advised_s
from shared.foretold import Foretold


def to_forecast(told: Foretold) -> dict[str, Any]:
    """The forecast object; as in a job, fields that do not apply are left out."""
    opens = told.outcome == "queued"
    known = {
        "cache": told.cache,
        "waiting_reason": told.waiting_reason,
        "ahead": told.ahead,
        "estimate": None if told.estimate is None else asdict(told.estimate),
        "refusal": None if told.refusal is None else _refusal(told.refusal),
    }
    return {
        "object": "estimate",
        "model": told.model,
        "outcome": told.outcome,
        "tokens": asdict(told.tokens)
        | {"answer_at_most": told.answer_tokens, "context_length": told.context_length},
        "cost": {
            "requests": 1,
            "places": int(opens),
            "turn": told.cost if opens else 0,
        },
    } | {name: value for name, value in known.items() if value is not None}


def _refusal(error: ServiceError) -> dict[str, Any]:
    """The error with which a submit would be refused."""
    return {
        "status": error.status,
        "code": error.code,
        "detail": error.message,
        "retryable": error.retryable,
        "retry_after": None if error.retry_after is None else advised_s(error.retry_after),
    }

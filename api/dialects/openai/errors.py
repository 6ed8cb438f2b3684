"""Errors as OpenAI's routes write them, and in the one form that every client understands inside a stream."""

from typing import Any

from shared.errors import CODES, ServiceError, Unavailable
from shared.result import JobError


def status_of(code: str) -> int:
    """The status of a code; 500 for one that is unknown here, from a worker of another release."""
    return CODES[code].status if code in CODES else 500


def to_error(error: ServiceError | JobError) -> dict[str, Any]:
    """The body of a failed call; `estimated_time` (s) where the model is not ready yet."""
    kind = _kind(status_of(error.code))
    body: dict[str, Any] = {
        "error": {"message": error.message, "type": kind, "param": error.param, "code": error.code}
    }
    return body | readiness(error)


def to_stream_error(error: ServiceError | JobError) -> dict[str, Any]:
    """The last data of a stream that fails.

    huggingface_hub looks for `error_type`; the OpenAI, huggingface.js and ai SDKs read `error.message`. No
    client takes the end of the transfer alone for a failure.
    """
    return {"error": to_error(error)["error"], "error_type": "generation"}


def _kind(status: int) -> str:
    named = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
    if status in named:
        return named[status]
    return "invalid_request_error" if status < 500 else "server_error"


def readiness(error: ServiceError | JobError) -> dict[str, Any]:
    """When to come back, in the fields that clients of every API read from the body."""
    if not isinstance(error, Unavailable) or error.estimated_time is None:
        return {}
    basis = {} if error.basis is None else {"basis": error.basis}
    return {"estimated_time": error.estimated_time, **basis}

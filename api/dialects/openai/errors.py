"""Errors as OpenAI's routes write them, and in the one form that every client understands inside a stream."""

from typing import Annotated, Literal, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from shared.errors import CODES, ServiceError, Unavailable
from shared.result import JobError


class ReadyTime(TypedDict):
    """When to come back, in the fields that clients of every API read from an error's body."""

    estimated_time: NotRequired[Annotated[float, Field(description="Seconds until the model is ready.")]]
    basis: NotRequired[Annotated[str, Field(description="What the time rests on.")]]


class OpenAIErrorBody(TypedDict):
    message: str
    type: str
    param: str | None
    code: str


class OpenAIError(ReadyTime):
    error: OpenAIErrorBody


class StreamError(TypedDict):
    """The last data of a stream that fails."""

    error: OpenAIErrorBody
    error_type: Literal["generation"]


def status_of(code: str) -> int:
    """The status of a code; 500 for one that is unknown here, from a worker of another release."""
    return CODES[code].status if code in CODES else 500


def to_error(error: ServiceError | JobError) -> OpenAIError:
    """The body of a failed call; `estimated_time` (s) where the model is not ready yet."""
    return {"error": to_error_body(error), **ready_time(error)}


def to_error_body(error: ServiceError | JobError) -> OpenAIErrorBody:
    kind = _kind(status_of(error.code))
    return {"message": error.message, "type": kind, "param": error.param, "code": error.code}


def to_stream_error(error: ServiceError | JobError) -> StreamError:
    """The last data of a stream that fails.

    huggingface_hub looks for `error_type`; the OpenAI, huggingface.js and ai SDKs read `error.message`. No
    client takes the end of the transfer alone for a failure.
    """
    return {"error": to_error_body(error), "error_type": "generation"}


def ready_time(error: ServiceError | JobError) -> ReadyTime:
    if not isinstance(error, Unavailable) or error.estimated_time is None:
        return {}
    if error.basis is None:
        return {"estimated_time": error.estimated_time}
    return {"estimated_time": error.estimated_time, "basis": error.basis}


def _kind(status: int) -> str:
    kinds = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
    if status in kinds:
        return kinds[status]
    return "invalid_request_error" if status < 500 else "server_error"

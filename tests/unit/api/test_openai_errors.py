"""OpenAI's form of every error: its type follows its status, and a loading model says when to come back."""

import pytest

from api.dialects.openai.errors import to_error, to_stream_error
from shared.errors import CODES, CallerError, ServiceError, Unavailable
from shared.result import JobError


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (CallerError("invalid_image", "m", param="p"), "invalid_request_error"),
        (CallerError("model_not_found", "m", param="p"), "invalid_request_error"),
        (ServiceError("caller_queue_full", "m", param="p"), "rate_limit_error"),
        (ServiceError("internal_error", "m", param="p"), "server_error"),
        (JobError(code="attempts_exhausted", message="m", param="p"), "server_error"),
        (JobError(code="code_of_a_later_release", message="m", param="p"), "server_error"),
    ],
)
def test_error_type_follows_its_status(error: ServiceError | JobError, kind: str) -> None:
    inner = {"message": "m", "type": kind, "param": "p", "code": error.code}
    assert to_error(error) == {"error": inner}
    assert to_stream_error(error) == {"error": inner, "error_type": "generation"}


def test_every_code_has_an_openai_form() -> None:
    for code in CODES:
        assert to_error(ServiceError(code, "m"))["error"]["code"] == code


def test_loading_model_says_when_to_come_back() -> None:
    error = Unavailable("no_worker", "m", retry_after=5, estimated_time=12.5, basis="no_worker")
    body = to_error(error)
    assert body["estimated_time"] == 12.5
    assert body["basis"] == "no_worker"

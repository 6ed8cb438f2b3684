"""Every error in the shape its clients read."""

import logging
from typing import Any

import httpx
import pytest

from shared.errors import (
    CODES,
    CallerError,
    ServiceError,
    Unavailable,
)
from tests.support.app import serving
from tests.support.fake_service import FakeService

QUESTION = {"model": "sightline/tiny", "messages": [{"role": "user", "content": "What is this?"}]}
INPUTS = {"inputs": "What is this?"}
NOTHING = (
    "There is nothing at this path; the base URL of OpenAI's clients ends in /v1, once; "
    "/openapi.json lists all paths."
)
DOORS: dict[str, tuple[str, dict[str, Any]]] = {
    "jobs": ("/v1/jobs", QUESTION),
    "openai": ("/v1/chat/completions", QUESTION),
    "hf": ("/models/sightline/tiny", INPUTS),
}
LOADING = Unavailable(
    "model_loading", "It is loading.", retry_after=90, estimated_time=90.5, basis="measured"
)
BROKEN = CallerError("invalid_image", "Not a picture.", param="inputs.image")

KINDS = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
TOLD = "`inputs.image`: Not a picture."
TIMES = {"estimated_time": 90.5, "basis": "measured"}
JSON, PROBLEM = {"content-type": "application/json"}, {"content-type": "application/problem+json"}


def problem(code: str, title: str, status: int, detail: str, **more: Any) -> dict[str, Any]:
    named = {"type": f"urn:sightline:error:{code}", "title": title, "status": status, "detail": detail}
    return named | {"code": code, "request_id": "r-1"} | more


def openai(code: str, kind: str, message: str, param: str | None = None) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


ERRORS = [
    (
        BROKEN,
        "jobs",
        problem(
            "invalid_image", "Invalid image", 400, "Not a picture.", param="inputs.image", retryable=False
        ),
        PROBLEM,
    ),
    (
        BROKEN,
        "openai",
        openai("invalid_image", "invalid_request_error", "Not a picture.", "inputs.image"),
        JSON | {"x-error-message": TOLD},
    ),
    (BROKEN, "hf", {"error": TOLD, "error_type": "invalid_image"}, JSON | {"x-error-message": TOLD}),
    (
        LOADING,
        "jobs",
        problem("model_loading", "Model loading", 503, "It is loading.", retryable=True) | TIMES,
        PROBLEM | {"retry-after": "59"},
    ),
    (
        LOADING,
        "openai",
        openai("model_loading", "server_error", "It is loading.") | TIMES,
        JSON | {"retry-after": "59"},
    ),
    (
        LOADING,
        "hf",
        {"error": "It is loading.", "error_type": "model_loading"} | TIMES,
        JSON | {"retry-after": "59", "x-error-message": "It is loading."},
    ),
]


async def _refused(service: FakeService, family: str) -> httpx.Response:
    path, body = DOORS[family]
    async with serving(service) as client:
        return await client.post(path, json=body, headers={"x-request-id": "r-1"})


@pytest.mark.parametrize(("error", "family", "body", "headers"), ERRORS)
async def test_each_family_reads_an_error_in_its_own_shape(
    error: ServiceError, family: str, body: dict[str, Any], headers: dict[str, str]
) -> None:
    service = FakeService()
    service.refusal = error

    response = await _refused(service, family)

    assert (response.status_code, response.json()) == (error.status, body)
    assert response.headers["x-request-id"] == "r-1"
    assert {name: response.headers[name] for name in headers} == headers


@pytest.mark.parametrize("family", DOORS)
@pytest.mark.parametrize("code", CODES)
async def test_the_headers_say_truly_whether_to_come_back(code: str, family: str) -> None:
    service = FakeService()
    service.refusal = ServiceError(code, "No.", retry_after=2.2)

    response = await _refused(service, family)

    # OpenAI's clients repeat 409 and every 5xx by themselves unless told otherwise.
    hopeless = not CODES[code].retryable and (CODES[code].status == 409 or CODES[code].status >= 500)
    assert response.status_code == CODES[code].status
    assert response.headers.get("retry-after") == ("3" if CODES[code].retryable else None)
    assert response.headers.get("x-should-retry") == ("false" if hopeless else None)
    if family == "openai":
        named = KINDS.get(CODES[code].status, "invalid_request_error")
        kind = "server_error" if CODES[code].status >= 500 else named
        assert response.json()["error"].items() >= {"code": code, "type": kind}.items()


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/jobs/a/b/c", problem("not_found", "Not found", 404, NOTHING, retryable=False)),
        ("/v1/embeddings", openai("not_found", "invalid_request_error", NOTHING)),
        ("/files", openai("not_found", "invalid_request_error", NOTHING)),
        ("/docs/nowhere.js", {"error": NOTHING, "error_type": "not_found"}),
    ],
)
async def test_an_unknown_path_answers_in_its_neighbours_shape(path: str, body: dict[str, Any]) -> None:
    async with serving(FakeService()) as client:
        response = await client.get(path, headers={"x-request-id": "r-1"})

    assert (response.status_code, response.json()) == (404, body)


@pytest.mark.parametrize("family", DOORS)
async def test_our_fault_is_logged_once_without_secrets(
    family: str, caplog: pytest.LogCaptureFixture
) -> None:
    service = FakeService()
    service.refusal = RuntimeError("redis://:password@store")

    response = await _refused(service, family)

    assert response.status_code == 500
    assert "internal_error" in response.text
    assert "password" not in response.text + str(response.headers)
    assert [(r.levelno, r.getMessage()) for r in caplog.records] == [(logging.ERROR, "request r-1 failed")]


async def test_an_error_text_becomes_one_plain_header_line() -> None:
    service = FakeService()
    service.refusal = CallerError("invalid_request", "line one\r\nx-evil: 1\tnaïve\x00 " + "y" * 400)

    response = await _refused(service, "hf")

    assert response.headers["x-error-message"] == ("line one x-evil: 1 na?ve? " + "y" * 400)[:300]
    assert "x-evil" not in response.headers


@pytest.mark.parametrize(
    ("sent", "kept"),
    [("abc-1.2:3_4", True), ("a" * 128, True), ("a" * 129, False), ("a b", False), ("", False)],
)
async def test_a_sane_request_id_is_the_callers_own_and_others_are_replaced(sent: str, kept: bool) -> None:
    async with serving(FakeService()) as client:
        response = await client.get("/v1/models", headers={"x-request-id": sent})

    answered = response.headers["x-request-id"]
    assert (answered == sent) is kept
    assert kept or answered.startswith("req_")

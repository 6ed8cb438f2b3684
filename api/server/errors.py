"""Answers errors: one table of codes, three shapes, by whose clients call the path.

    jobs     /v1/jobs/**        RFC 9457 problem details, application/problem+json;
             /v1/estimate and /v1/live too
    openai   the other /v1/**,  {"error": {message, type, param, code}, "estimated_time"?}
             /openai/v1/**
    hf       everything else    {"error": text, "error_type", "estimated_time"?}

Hugging Face's clients show only a string `error`, OpenAI's need `error.message`, and huggingface.js reads a
failed stream's body only as exactly application/json.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Literal, cast

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.routing import Match

from api.dialects import strict_json
from api.dialects.hf import task_answers
from api.dialects.hf.task_answers import HuggingFaceError, is_huggingface_js
from api.dialects.native.jobs import Problem, to_problem
from api.dialects.openai import errors
from api.dialects.openai.errors import OpenAIError
from api.server.reply import reply_of
from shared.errors import CODES, CallerError, InternalError, ServiceError, Unavailable
from shared.estimate import advised_s
from shared.json_line import to_json
from shared.metrics.api_counters import REFUSALS
from shared.result import JobError

Family = Literal["Problem", "OpenAIError", "HuggingFaceError"]
"""The shape of an error, by its name in the description of the API."""
ERROR_TYPES = (ServiceError, HTTPException, RequestValidationError)
PACE_S = 1.0
"""huggingface.js retries a 503 at once and forever, and ignores Retry-After: 270 requests in 2 s from one
client, measured with 4.13.30."""

OWN = frozenset({"jobs", "estimate", "live"})
"""The second part of a path that is this service's own and not OpenAI's."""

_ERROR_MESSAGE_LIMIT = 300
_METHODS = ("DELETE", "GET", "PATCH", "POST", "PUT")


def install(app: FastAPI) -> None:
    """Give every error of `app` its path's shape; `api.server.middleware` handles unexpected exceptions."""
    for kind in ERROR_TYPES:
        app.add_exception_handler(kind, answer)


def family_of(path: str) -> Family:
    """Whose clients call this path, whether or not a route has it."""
    if path.startswith("/v1/") and path.split("/")[2] in OWN:
        return "Problem"
    return "OpenAIError" if path.startswith(("/v1/", "/openai/v1/")) else "HuggingFaceError"


def render(error: ServiceError, path: str, request_id: str) -> Response:
    """The complete answer for an error. Counts the refusal, but of no probe of a model's health."""
    if not path.endswith("/health"):
        REFUSALS.labels(error.code).inc()
    media = "application/json"
    headers = _headers(error)
    family = family_of(path)
    body: Problem | OpenAIError | HuggingFaceError
    match family:
        case "Problem":
            body, media = to_problem(error, request_id), "application/problem+json"
        case "OpenAIError":
            body = errors.to_error(error)
        case "HuggingFaceError":
            body = task_answers.to_error(error)
    if family != "Problem":
        # huggingface_hub, which chats under /v1 too, shows it before what it makes of the body.
        headers["x-error-message"] = _one_line(task_answers.to_text(error))
    return Response(to_json(body), error.status, headers, media)


def from_job(error: JobError) -> ServiceError:
    """A failed job's error for its waiting caller; a newer worker's unknown code becomes `internal_error`."""
    code = error.code if error.code in CODES else "internal_error"
    return ServiceError(code, error.message, param=error.param)


def retry_after(seconds: float | None) -> str:
    return str(advised_s(seconds))


def _render(request: Request, error: ServiceError) -> Response:
    return render(error, request.url.path, reply_of(request).request_id)


async def answer(request: Request, error: Exception) -> Response:
    """The answer for one of the ERROR_TYPES, held back where its client would repeat the call at once."""
    if isinstance(error, RequestValidationError):
        # The first header or parameter that FastAPI could not read.
        detail = error.errors()[0]
        error = strict_json.invalid(str(detail["loc"][-1]), strict_json.reason(detail))
    if not isinstance(error, ServiceError):
        return _routing_error(request, cast(HTTPException, error))
    await pace(request.headers, error)
    return _render(request, error)


def _routing_error(request: Request, error: HTTPException) -> Response:
    """The router's own errors: no such path, or no such method on it."""
    match error.status_code:
        case 404:
            return _nowhere(request)
        case 405:
            methods = ", ".join(_methods(request))
            message = f"{request.method} does nothing here; send {methods}."
            response = _render(request, CallerError("method_not_allowed", message))
            response.headers["allow"] = methods
            return response
        case _:
            return _render(request, InternalError())


def _nowhere(request: Request) -> Response:
    """A 404 with a hint on /v1, which some clients want in the base URL and others add.

    Where only /v1 is missing, the error has OpenAI's shape: newer clients show nothing of another one.
    """
    path = request.url.path
    # Under /models/ whatever follows a model's id would be taken for a part of the id.
    missing = not path.startswith("/models/") and _serves(request, request.method, f"/v1{path}")
    hint = "the base URL of OpenAI's clients ends in /v1, once; /openapi.json lists all paths"
    error = CallerError("not_found", f"There is nothing at this path; {hint}.")
    return render(error, f"/v1{path}" if missing else path, reply_of(request).request_id)


def _methods(request: Request) -> list[str]:
    """Return all methods of the path; the router's own Allow header names only one route's."""
    path = request.url.path
    methods = [method for method in _METHODS if _serves(request, method, path)]
    return sorted([*methods, "HEAD"]) if "GET" in methods else methods


def _serves(request: Request, method: str, path: str) -> bool:
    scope = {"type": "http", "method": method, "path": path, "root_path": request.scope.get("root_path", "")}
    return any(route.matches(scope)[0] is Match.FULL for route in request.app.routes)


def _headers(error: ServiceError) -> dict[str, str]:
    headers = {}
    if error.status == 401:
        headers["www-authenticate"] = "Bearer"
    if error.retryable:
        headers["retry-after"] = retry_after(error.retry_after)
    elif error.status == 409 or error.status >= 500:
        # OpenAI's clients repeat these statuses unless told otherwise.
        headers["x-should-retry"] = "false"
    if isinstance(error, Unavailable) and error.most_queued is not None:
        # Separate header lines: a list may continue over several (RFC 9651, section 3.1).
        headers["ratelimit-policy"] = f'"queued";q={error.most_queued}'
        headers["ratelimit"] = '"queued";r=0'
    return headers


def _one_line(text: str) -> str:
    line = " ".join(text.split())[:_ERROR_MESSAGE_LIMIT]
    return "".join(c if " " <= c <= "~" else "?" for c in line)


async def pace(
    headers: Headers, error: ServiceError, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
) -> None:
    """Hold back an error that this client would turn into a busy loop, or whose advice would be too short."""
    if error.status == 503 and is_huggingface_js(headers.get("user-agent")):
        await sleep(PACE_S)
    beyond_s = (error.retry_after or 0) - advised_s(error.retry_after)
    if error.code == "rate_limited" and beyond_s > 0:
        # Who comes back when told to is let in: of a whole minute, the last second passes here.
        await sleep(beyond_s)

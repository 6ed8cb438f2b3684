"""/v1/jobs: this service's own API. Times are Unix seconds with milliseconds; paths in `urls` are relative.

Errors are problem details (RFC 9457).
"""

from dataclasses import dataclass
from typing import Any

from api.dialects.asking import Asking
from api.dialects.calls import finish_of, to_tool_calls, told
from api.dialects.logprobs import to_content, wanted
from api.dialects.media import image
from api.dialects.messages import to_messages
from api.dialects.metadata import to_metadata
from api.dialects.moments import seconds
from api.dialects.openai_chat import TopLogprobs, continues
from api.dialects.openai_errors import readiness, status_of
from api.dialects.pages import to_page
from api.dialects.receipts import to_receipt
from api.dialects.refusals import invalid
from api.dialects.sampling import Count, TokenSampling, to_parameters
from api.dialects.strict_json import Wire, read
from api.dialects.times import Moment, to_times
from api.dialects.tools import to_tools
from api.dialects.webhook import JobWebhook, to_hook, to_webhook
from shared.errors import CODES, CallerError, ServiceError
from shared.job import Attempt, Event, JobView, Priority
from shared.listing import Page
from shared.logprobs import Logprobs, logprobs_of
from shared.request import Message, Request, Text
from shared.result import JobError, Result
from shared.times import Times
from shared.webhooks import Webhook


class JobInput(Wire):
    prompt: str
    image: str | None = None
    images: list[str] | None = None


class JobParameters(TokenSampling):
    max_new_tokens: Count | None = None
    max_tokens: Count | None = None
    max_completion_tokens: Count | None = None
    min_new_tokens: Count | None = None
    do_sample: bool | None = None
    typical_p: float | None = None
    logprobs: bool | None = None
    top_logprobs: TopLogprobs | None = None


class JobBody(Asking):
    model: str | None = None
    messages: list[Any] | None = None
    input: JobInput | None = None
    parameters: JobParameters | None = None
    continue_final_message: bool | None = None
    metadata: dict[str, str] | None = None
    priority: Priority | None = None
    webhook: str | JobWebhook | None = None
    tools: list[Any] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    start_by: Moment | None = None
    finish_by: Moment | None = None
    schedule_at: Moment | None = None
    store: bool | None = None


@dataclass(frozen=True)
class Envelope:
    """What a caller says about a job beside the request itself."""

    metadata: dict[str, str]
    priority: Priority
    times: Times
    webhook: Webhook | None = None
    stored: bool = True


def from_job(body: Any) -> tuple[Request, Envelope]:
    """Raises CallerError naming the field."""
    job = read(JobBody, body)
    messages = _messages(job)
    given = job.parameters or JobParameters()
    logprobs = wanted(given.logprobs, given.top_logprobs, "parameters")
    parameters, named = to_parameters((given, "parameters"), logprobs=logprobs)
    if job.input is not None:
        named["messages"] = "input.prompt"
    request = Request(
        model=job.model or "",
        messages=messages,
        parameters=parameters,
        tools=to_tools(job.tools, job.tool_choice, job.parallel_tool_calls),
        continue_final=continues(job.continue_final_message, job.messages, messages[-1]),
        named=named,
    )
    return request, Envelope(
        metadata=to_metadata(job.metadata),
        priority=job.priority or "normal",
        times=to_times(job.schedule_at, job.start_by, job.finish_by),
        webhook=to_webhook(job.webhook),
        stored=job.store is not False,
    )


def to_job(view: JobView) -> dict[str, Any]:
    """The job object; fields that are unknown or do not apply at this status are left out."""
    url = f"/v1/jobs/{view.id}"
    result = None if view.result is None else _result(view.id, view.result)
    known = {
        "waiting_reason": view.waiting_reason,
        "ahead": view.ahead,
        "estimate": None if view.estimate is None else vars(view.estimate),
        "result": result,
        "error": None if view.error is None else view.error.model_dump(),
        "start_by": seconds(view.start_by_ms),
        "finish_by": seconds(view.finish_by_ms),
        "schedule_at": seconds(view.schedule_at_ms),
        "receipt": _receipt(view),
        "retry_of": view.retry_of,
        "store": None if view.stored else False,
        "webhook": None if view.hook is None else to_hook(view.hook),
    }
    return {
        "id": view.id,
        "object": "job",
        "status": view.status,
        "model": view.model,
        "priority": view.priority,
        "created_at": view.created_ms / 1000,
        "started_at": seconds(view.started_ms),
        "ended_at": seconds(view.ended_ms),
        "attempts": [_attempt(a) for a in view.attempts],
        "cache": view.cache,
        "metadata": view.metadata,
        "urls": {
            "self": url,
            "cancel": f"{url}/cancel",
            "retry": f"{url}/retry",
            "events": f"{url}/events",
        },
    } | {name: value for name, value in known.items() if value is not None}


def to_list(page: Page) -> dict[str, Any]:
    rows = [to_job(view) for view in page.views]
    return to_page(rows, has_more=page.next is not None) | {"next": page.next}


def to_event(event: Event, view: JobView) -> tuple[str, int, dict[str, Any]]:
    """Name, id and data of one server-sent event; the last event carries the ended job."""
    if event.last:
        return event.type, event.id, {"job": to_job(view), "at": event.at_ms / 1000}
    said = event.data | _told(logprobs_of(event.data))
    for ours in ("syntax", "prompt_tokens"):
        said.pop(ours, None)
    return event.type, event.id, {"job_id": view.id, "at": event.at_ms / 1000, **said}


def to_problem(error: ServiceError | JobError, request_id: str) -> dict[str, Any]:
    status = status_of(error.code)
    retryable = CODES[error.code].retryable if error.code in CODES else error.retryable
    return {
        "type": f"urn:sightline:error:{error.code}",
        "title": error.code.replace("_", " ").capitalize(),
        "status": status,
        "detail": error.message,
        "code": error.code,
        **({} if error.param is None else {"param": error.param}),
        "retryable": retryable,
        "request_id": request_id,
        **readiness(error),
    }


def _messages(job: JobBody) -> tuple[Message, ...]:
    if job.messages is not None and job.input is None:
        return to_messages(job.messages, "messages", bare_base64=True)
    if job.input is not None and job.messages is None:
        return (_question(job.input),)
    raise CallerError("invalid_request", "Send either `messages` or `input`.", param="messages")


def _question(asked: JobInput) -> Message:
    """Pictures first, then the prompt: the order of every other short form, so that they share the cache."""
    if asked.image is not None and asked.images is not None:
        raise invalid("input.images", "is sent beside `input.image`; send one of them")
    named = [(v, f"input.images[{i}]") for i, v in enumerate(asked.images or [])]
    if asked.image is not None:
        named = [(asked.image, "input.image")]
    pictures = [image(value, param, bare_base64=True) for value, param in named]
    return Message(role="user", parts=(*pictures, Text(text=asked.prompt)))


def _receipt(view: JobView) -> dict[str, Any] | None:
    if view.result is None or view.computed is None:
        return None
    return to_receipt(view, view.result, view.computed)


def _result(job: str, result: Result) -> dict[str, Any]:
    usage = result.usage
    return {
        "text": result.text,
        "choices": [_choice(job, result, number) for number in range(len(result.choices))],
        "usage": usage.model_dump() | {"total_tokens": usage.prompt_tokens + usage.completion_tokens},
        "fingerprint": result.fingerprint,
        "compute_s": result.compute_s,
    }


def _choice(job: str, result: Result, number: int) -> dict[str, Any]:
    """`text` is all that the model wrote; where it calls functions, `content` is the words beside them."""
    choice = result.choices[number]
    said = told(choice.text, result.syntax)
    called = {
        "finish_reason": finish_of(choice.finish_reason, len(said.calls)),
        "content": said.words,
        "tool_calls": to_tool_calls(job, number, said.calls),
    }
    shown = choice.model_dump(exclude={"logprobs"}) | _told(choice.logprobs)
    return shown | called if said.calls else shown


def _told(told: Logprobs | None) -> dict[str, Any]:
    return {} if told is None else {"logprobs": to_content(told)}


def _attempt(attempt: Attempt) -> dict[str, Any]:
    return {
        "number": attempt.number,
        "worker": attempt.worker,
        "started_at": attempt.started_ms / 1000,
        "ended_at": seconds(attempt.ended_ms),
        "outcome": attempt.outcome,
    }

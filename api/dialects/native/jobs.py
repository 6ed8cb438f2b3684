"""/v1/jobs: this service's own API. Times are Unix seconds with milliseconds; paths in `urls` are relative.

Errors are problem details (RFC 9457)."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, get_args

from api.dialects.calls import finish_of, to_tool_calls, told
from api.dialects.fields import MAX_PAIRS, Moment, seconds, to_metadata, to_ms, to_page, to_times
from api.dialects.logprobs import to_content, wanted
from api.dialects.media import image
from api.dialects.messages import to_messages
from api.dialects.native.job_webhook import JobWebhook, to_hook, to_webhook
from api.dialects.openai.chat import TopLogprobs, continues
from api.dialects.openai.errors import readiness, status_of
from api.dialects.sampling import Count, TokenSampling, to_parameters
from api.dialects.strict_json import Asking, Wire, invalid, read
from api.dialects.tools import to_tools
from shared.errors import CODES, CallerError, ServiceError, advised_s
from shared.job import Attempt, Computed, Event, Filter, JobView, Page, Priority, Status, Times
from shared.request import Message, Request, Text
from shared.result import JobError, Logprobs, Result, logprobs_of
from shared.tokens import Foretold
from shared.webhooks import Webhook

# The receipt of a job that succeeded: which computation gave the answer, with what, when and for how much.
#
# Two answers that differ have receipts that differ, and say in what.


def to_receipt(view: JobView, result: Result, computed: Computed) -> dict[str, Any]:
    """Times are the run's, in Unix seconds: for a cached answer they are earlier than the job's own."""
    origin, usage = result.origin, result.usage
    return {
        "request_hash": view.request_hash,
        "fingerprint": result.fingerprint,
        "model": {"id": view.model} | ({} if origin is None else origin.made_of),
        "parameters": {} if origin is None else origin.parameters,
        "cache": view.cache,
        "run": {"id": computed.run, "job": computed.job},
        "attempts": computed.attempts,
        "timings": {
            "queued_at": seconds(computed.queued_ms),
            "started_at": seconds(computed.started_ms),
            "first_token_at": seconds(computed.first_text_ms),
            "ended_at": seconds(computed.ended_ms),
            "compute_s": result.compute_s,
        },
        "usage": usage.model_dump() | {"total_tokens": usage.prompt_tokens + usage.completion_tokens},
    }


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


# Reads the query that filters a list of jobs.


def from_query(one: Callable[[str], str | None], several: Callable[[str], Sequence[str]]) -> Filter:
    """`one` and `several` read the query's values by name. Raises CallerError naming the parameter."""
    return Filter(
        status=_of("status", one("status"), Status),
        model=one("model"),
        priority=_of("priority", one("priority"), Priority),
        since=_moment("created_after", one("created_after")),
        until=_moment("created_before", one("created_before")),
        metadata=_pairs(several("metadata")),
    )


def _of(name: str, value: str | None, words: Any) -> Any:
    if value is None or value in get_args(words):
        return value
    raise invalid(name, f"should be one of {', '.join(get_args(words))}")


def _moment(name: str, text: str | None) -> int | None:
    """A `+` in a query means a space, and the offset of a time may begin with one."""
    if text is None:
        return None
    try:
        return to_ms(name, float(text))
    except ValueError:
        return to_ms(name, text.replace(" ", "+"))


def _pairs(said: Sequence[str]) -> dict[str, str]:
    pairs = [text.partition("=") for text in said]
    if len(pairs) > MAX_PAIRS or not all(name and equals for name, equals, _ in pairs):
        raise invalid("metadata", f"should be up to {MAX_PAIRS} times a key, `=` and a value")
    found = {name: value for name, _, value in pairs}
    if len(found) < len({(name, value) for name, _, value in pairs}):
        raise invalid("metadata", "names a key twice")
    return found


# POST /v1/estimate: what would become of a job, in this service's own format.


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

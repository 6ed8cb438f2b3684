"""/v1/jobs and /v1/estimate: this service's own API.

Times are Unix seconds with milliseconds; paths in `urls` are relative. Errors are problem details (RFC 9457).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NotRequired, cast, get_args

from pydantic import Field
from typing_extensions import TypedDict

from api.dialects.calls import FinishWord, ToolCall, finish_of, split_answer, to_tool_calls
from api.dialects.fields import (
    MAX_PAIRS,
    Metadata,
    Moment,
    PageAnswer,
    seconds,
    to_ms,
    to_page,
    to_times,
)
from api.dialects.logprobs import ChatTokenLogprob, to_content, wanted
from api.dialects.media import image
from api.dialects.messages import WireMessages, to_messages
from api.dialects.native.webhooks import JobWebhook, WebhookState, to_hook, to_webhook
from api.dialects.openai.chat import TopLogprobs, continues
from api.dialects.openai.errors import ReadyTime, ready_time, status_of
from api.dialects.sampling import MaxTokensField, MinTokensField, TokenSampling, to_parameters
from api.dialects.strict_json import RequestBody, Wire, invalid, read
from api.dialects.tools import ToolBodies, ToolChoice, to_tools
from shared import job, result, tokens
from shared.errors import CODES, CallerError, ServiceError, advised_s
from shared.job import CacheWord, Computed, Filter, JobView, Page, Priority, Status, Times, WaitingReason
from shared.request import Message, Request, Text, TypicalP
from shared.result import logprobs_of
from shared.tokens import Outcome
from shared.webhooks import Webhook


class JobInput(Wire):
    prompt: str
    image: str | None = None
    images: list[str] | None = None


class JobParameters(TokenSampling):
    max_new_tokens: MaxTokensField = None
    max_tokens: MaxTokensField = None
    max_completion_tokens: MaxTokensField = None
    min_new_tokens: MinTokensField = None
    do_sample: bool | None = None
    typical_p: TypicalP | None = None
    logprobs: bool | None = None
    top_logprobs: TopLogprobs | None = None


class JobBody(RequestBody):
    """Either `messages` or `input` is sent."""

    model: str | None = None
    messages: WireMessages | None = None
    input: JobInput | None = None
    parameters: JobParameters | None = None
    continue_final_message: bool | None = None
    metadata: Metadata | None = None
    priority: Priority | None = None
    webhook: str | JobWebhook | None = None
    tools: ToolBodies = None
    tool_choice: ToolChoice = None
    parallel_tool_calls: bool | None = None
    start_by: Moment | None = None
    finish_by: Moment | None = None
    schedule_at: Moment | None = None
    store: bool | None = None


@dataclass
class JobCall:
    """A job to be made. The request's `model` is as the caller wrote it, "" for none."""

    request: Request
    metadata: dict[str, str]
    priority: Priority
    times: Times
    webhook: Webhook | None = None
    stored: bool = True


def from_job(body: Any) -> JobCall:
    """Raises CallerError naming the field."""
    call = read(JobBody, body)
    messages = _messages(call)
    arguments = call.parameters or JobParameters()
    logprobs = wanted(arguments.logprobs, arguments.top_logprobs, "parameters")
    parameters, named = to_parameters((arguments, "parameters"), logprobs=logprobs)
    if call.input is not None:
        named["messages"] = "input.prompt"
    request = Request(
        model=call.model or "",
        messages=messages,
        parameters=parameters,
        tools=to_tools(call.tools, call.tool_choice, call.parallel_tool_calls),
        continue_final=continues(call.continue_final_message, call.messages, messages[-1]),
        named=named,
    )
    return JobCall(
        request,
        metadata=call.metadata or {},
        priority=call.priority or "normal",
        times=to_times(call.schedule_at, call.start_by, call.finish_by),
        webhook=to_webhook(call.webhook),
        stored=call.store is not False,
    )


def _messages(call: JobBody) -> tuple[Message, ...]:
    if call.messages is not None and call.input is None:
        return to_messages(call.messages, "messages", bare_base64=True)
    if call.input is not None and call.messages is None:
        return (_question(call.input),)
    raise CallerError("invalid_request", "Send either `messages` or `input`.", param="messages")


def _question(body: JobInput) -> Message:
    """Pictures first, then the prompt: the order of every other short form, so that they share the cache."""
    if body.image is not None and body.images is not None:
        raise invalid("input.images", "is sent beside `input.image`; send one of them")
    references = [(value, f"input.images[{i}]") for i, value in enumerate(body.images or [])]
    if body.image is not None:
        references = [(body.image, "input.image")]
    pictures = [image(value, param, bare_base64=True) for value, param in references]
    return Message(role="user", parts=(*pictures, Text(text=body.prompt)))


class JobUrls(TypedDict):
    self: str
    cancel: str
    retry: str
    events: str


class JobAttempt(TypedDict):
    number: int
    worker: str
    started_at: float
    ended_at: float | None
    outcome: str | None


class JobUsage(TypedDict):
    """Part of `prompt_tokens` are `image_tokens`, and `cached_tokens`, which were known already."""

    prompt_tokens: int
    completion_tokens: int
    image_tokens: int
    cached_tokens: int
    total_tokens: int
    audio_tokens: NotRequired[Annotated[int, Field(description="Where sounds were sent.")]]


class JobChoice(TypedDict):
    """`text` is all that the model wrote; `content` and `tool_calls` come where it calls functions."""

    text: str
    finish_reason: FinishWord
    score: float | None
    content: NotRequired[Annotated[str | None, Field(description="The words beside its calls.")]]
    tool_calls: NotRequired[list[ToolCall]]
    logprobs: NotRequired[Annotated[list[ChatTokenLogprob], Field(description="With logprobs.")]]


class JobResult(TypedDict):
    text: str
    choices: list[JobChoice]
    usage: JobUsage
    fingerprint: str
    compute_s: float


class ReceiptModel(TypedDict):
    """Beside the id what the fingerprint is over; `files` is a digest of weights, processor and template."""

    id: str
    engine: NotRequired[str]
    revision: NotRequired[str]
    files: NotRequired[str]
    dtype: NotRequired[str]
    device: NotRequired[str]


class ReceiptRun(TypedDict):
    """`job` is the one that it was begun for; null where that is not yours."""

    id: str
    job: str | None


class ReceiptTimings(TypedDict):
    """Of the run: a cached answer was computed before its job was created."""

    queued_at: float | None
    started_at: float | None
    first_token_at: float | None
    ended_at: float | None
    compute_s: float


class Receipt(TypedDict):
    """How the answer came about. `parameters` are those in effect, with the seed of what was drawn."""

    request_hash: str | None
    fingerprint: str
    model: ReceiptModel
    parameters: dict[str, Any]
    cache: CacheWord | None
    run: ReceiptRun
    attempts: int | None
    timings: ReceiptTimings
    usage: JobUsage


class Estimate(TypedDict):
    """Seconds until the job begins, half and nine tenths of the time, and how long it then takes to its end.

    It begins as a worker claims it; `service_s` has its wait for a row there. `basis` says what they rest on.
    """

    p50: float
    p90: float
    service_s: float
    basis: str


class JobError(TypedDict):
    """Why a job failed, as its record keeps it."""

    code: str
    message: str
    param: str | None
    retryable: bool


class Job(TypedDict):
    """Times are Unix seconds, paths in `urls` are relative to the service."""

    id: str
    object: Literal["job"]
    status: Status
    model: str
    priority: Priority
    created_at: float
    started_at: float | None
    ended_at: float | None
    attempts: list[JobAttempt]
    cache: CacheWord | None
    metadata: dict[str, str]
    urls: JobUrls
    waiting_reason: NotRequired[Annotated[WaitingReason, Field(description="While it waits.")]]
    ahead: NotRequired[Annotated[int, Field(description="Runs that will be begun before this one.")]]
    estimate: NotRequired[Annotated[Estimate, Field(description="While it waits in line.")]]
    result: NotRequired[Annotated[JobResult, Field(description="Of a job that succeeded.")]]
    receipt: NotRequired[Annotated[Receipt, Field(description="Of a job that succeeded.")]]
    error: NotRequired[Annotated[JobError, Field(description="Of a job that failed.")]]
    start_by: NotRequired[float]
    finish_by: NotRequired[float]
    schedule_at: NotRequired[float]
    retry_of: NotRequired[Annotated[str, Field(description="The job that this one tries again.")]]
    webhook: NotRequired[Annotated[WebhookState, Field(description="Where it has one.")]]
    store: NotRequired[
        Annotated[bool, Field(description="`false` where it is forgotten once its end was told.")]
    ]


class JobList(PageAnswer):
    """`next` is what to send as `after` for the page that follows; a short or empty page may have one.

    A page of long answers is short: it has at most 2 MiB of records, or one job.
    """

    data: list[Job]
    next: str | None


class JobEvent(TypedDict):
    """The data of an event; `succeeded`, `failed` and `cancelled` are last and hold the job."""

    at: float
    job_id: NotRequired[str]
    attempt: NotRequired[Annotated[int, Field(description="running")]]
    reason: NotRequired[Annotated[str, Field(description="requeued")]]
    choice: NotRequired[Annotated[int, Field(description="text, with n: its place in the result's choices")]]
    start: NotRequired[
        Annotated[int, Field(description="text: where it begins in its answer, in code points")]
    ]
    text: NotRequired[Annotated[str, Field(description="text")]]
    ids: NotRequired[Annotated[list[int], Field(description="text: its tokens")]]
    logprobs: NotRequired[Annotated[list[ChatTokenLogprob], Field(description="text, with logprobs")]]
    job: NotRequired[Annotated[Job, Field(description="The job as it ended.")]]


class Problem(ReadyTime):
    """Problem details (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    param: NotRequired[str]
    retryable: bool
    request_id: str


def to_job(view: JobView) -> Job:
    """Fields that are unknown or do not apply at this status are left out."""
    url = f"/v1/jobs/{view.id}"
    answer: Job = {
        "id": view.id,
        "object": "job",
        "status": view.status,
        "model": view.model,
        "priority": view.priority,
        "created_at": view.created_ms / 1000,
        "started_at": seconds(view.started_ms),
        "ended_at": seconds(view.ended_ms),
        "attempts": [_attempt(attempt) for attempt in view.attempts],
        "cache": view.cache,
        "metadata": view.metadata,
        "urls": {
            "self": url,
            "cancel": f"{url}/cancel",
            "retry": f"{url}/retry",
            "events": f"{url}/events",
        },
    }
    _add_waiting(answer, view)
    _add_ending(answer, view)
    _add_terms(answer, view)
    return answer


def _add_waiting(answer: Job, view: JobView) -> None:
    if view.waiting_reason is not None:
        answer["waiting_reason"] = view.waiting_reason
    if view.ahead is not None:
        answer["ahead"] = view.ahead
    if view.estimate is not None:
        answer["estimate"] = _estimate(view.estimate)


def _add_ending(answer: Job, view: JobView) -> None:
    if view.result is not None:
        answer["result"] = _result(view.id, view.result)
        if view.computed is not None:
            answer["receipt"] = to_receipt(view, view.result, view.computed)
    if view.error is not None:
        answer["error"] = cast(JobError, view.error.model_dump())


def _add_terms(answer: Job, view: JobView) -> None:
    if view.start_by_ms is not None:
        answer["start_by"] = view.start_by_ms / 1000
    if view.finish_by_ms is not None:
        answer["finish_by"] = view.finish_by_ms / 1000
    if view.schedule_at_ms is not None:
        answer["schedule_at"] = view.schedule_at_ms / 1000
    if view.retry_of is not None:
        answer["retry_of"] = view.retry_of
    if view.hook is not None:
        answer["webhook"] = to_hook(view.hook)
    if not view.stored:
        answer["store"] = False


def to_receipt(view: JobView, result: result.Result, computed: Computed) -> Receipt:
    """Which computation gave the answer, with what, when and for how much: answers that differ have receipts
    that differ. Times are the run's: for a cached answer they are earlier than the job's own.
    """
    origin = result.origin
    return {
        "request_hash": view.request_hash,
        "fingerprint": result.fingerprint,
        "model": cast(ReceiptModel, {"id": view.model} | ({} if origin is None else origin.made_of)),
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
        "usage": _usage(result.usage),
    }


def to_list(page: Page) -> JobList:
    rows = [to_job(view) for view in page.views]
    return {**to_page(rows, has_more=page.next is not None), "next": page.next}


def to_event(event: job.Event, view: JobView) -> tuple[str, int, JobEvent]:
    """Name, id and data of one server-sent event; the last event carries the ended job."""
    at = event.at_ms / 1000
    if event.last:
        return event.type, event.id, {"job": to_job(view), "at": at}
    data = {name: value for name, value in event.data.items() if name not in _INTERNAL}
    logprobs = logprobs_of(event.data)
    if logprobs is not None:
        data["logprobs"] = to_content(logprobs)
    return event.type, event.id, cast(JobEvent, {"job_id": view.id, "at": at, **data})


_INTERNAL = ("syntax", "prompt_tokens")
"""Data of events that callers are not shown."""


def to_problem(error: ServiceError | result.JobError, request_id: str) -> Problem:
    problem: Problem = {
        "type": f"urn:sightline:error:{error.code}",
        "title": error.code.replace("_", " ").capitalize(),
        "status": status_of(error.code),
        "detail": error.message,
        "code": error.code,
        "retryable": CODES[error.code].retryable if error.code in CODES else error.retryable,
        "request_id": request_id,
    }
    if error.param is not None:
        problem["param"] = error.param
    return cast(Problem, {**problem, **ready_time(error)})


def _result(job: str, result: result.Result) -> JobResult:
    return {
        "text": result.text,
        "choices": [_choice(job, result, number) for number in range(len(result.choices))],
        "usage": _usage(result.usage),
        "fingerprint": result.fingerprint,
        "compute_s": result.compute_s,
    }


def _usage(usage: result.Usage) -> JobUsage:
    answer: JobUsage = {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "image_tokens": usage.image_tokens,
        "cached_tokens": usage.cached_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }
    if usage.audio_tokens:
        answer["audio_tokens"] = usage.audio_tokens
    return answer


def _choice(job: str, result: result.Result, number: int) -> JobChoice:
    """`text` is all that the model wrote; where it calls functions, `content` is the words beside them."""
    choice = result.choices[number]
    parts = split_answer(choice.text, result.syntax)
    answer: JobChoice = {
        "text": choice.text,
        "finish_reason": finish_of(choice.finish_reason, len(parts.calls)),
        "score": choice.score,
    }
    if parts.calls:
        answer["content"] = parts.text
        answer["tool_calls"] = to_tool_calls(job, number, parts.calls)
    if choice.logprobs is not None:
        answer["logprobs"] = to_content(choice.logprobs)
    return answer


def _attempt(attempt: job.Attempt) -> JobAttempt:
    return {
        "number": attempt.number,
        "worker": attempt.worker,
        "started_at": attempt.started_ms / 1000,
        "ended_at": seconds(attempt.ended_ms),
        "outcome": attempt.outcome,
    }


def _estimate(estimate: job.Estimate) -> Estimate:
    return {
        "p50": estimate.p50,
        "p90": estimate.p90,
        "service_s": estimate.service_s,
        "basis": estimate.basis,
    }


def from_query(one: Callable[[str], str | None], several: Callable[[str], Sequence[str]]) -> Filter:
    """The filter of a list of jobs; `one` and `several` read the query's values by name.

    Raises CallerError naming the parameter.
    """
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


def _pairs(texts: Sequence[str]) -> dict[str, str]:
    pairs = [text.partition("=") for text in texts]
    if len(pairs) > MAX_PAIRS or not all(name and equals for name, equals, _ in pairs):
        raise invalid("metadata", f"should be up to {MAX_PAIRS} times a key, `=` and a value")
    metadata = {name: value for name, _, value in pairs}
    if len(metadata) < len({(name, value) for name, _, value in pairs}):
        raise invalid("metadata", "names a key twice")
    return metadata


class ForecastTokens(TypedDict):
    """`image` is part of `prompt`; both are null while pictures are fetched, `prompt` while sounds are."""

    prompt: int | None
    image: int | None
    basis: Literal["measured", "guess"]
    answer_at_most: int
    context_length: int | None


class ForecastCost(TypedDict):
    """`requests` of the quota, `places` in the caller's line, and what its `turn` costs, in answer tokens."""

    requests: int
    places: int
    turn: int


class ForecastRefusal(TypedDict):
    """What a submit would be answered."""

    status: int
    code: str
    detail: str
    retryable: bool
    retry_after: int | None


class Forecast(TypedDict):
    """What would become of a job now. A cached answer is there at once; a joined run is another job's."""

    object: Literal["estimate"]
    model: str
    outcome: Outcome
    tokens: ForecastTokens
    cost: ForecastCost
    cache: NotRequired[Annotated[CacheWord, Field(description="As the job would show it.")]]
    waiting_reason: NotRequired[WaitingReason]
    ahead: NotRequired[Annotated[int, Field(description="Runs that would be begun before.")]]
    estimate: NotRequired[
        Annotated[Estimate, Field(description="Until it begins, and how long it then takes.")]
    ]
    refusal: NotRequired[Annotated[ForecastRefusal, Field(description="Where it would be refused.")]]


def to_forecast(forecast: tokens.Foretold) -> Forecast:
    """As in a job, fields that do not apply are left out."""
    queued, counts = forecast.outcome == "queued", forecast.tokens
    answer: Forecast = {
        "object": "estimate",
        "model": forecast.model,
        "outcome": forecast.outcome,
        "tokens": {
            "prompt": counts.prompt,
            "image": counts.image,
            "basis": cast(Literal["measured", "guess"], counts.basis),
            "answer_at_most": forecast.answer_tokens,
            "context_length": forecast.context_length,
        },
        "cost": {"requests": 1, "places": int(queued), "turn": forecast.cost if queued else 0},
    }
    if forecast.cache is not None:
        answer["cache"] = forecast.cache
    if forecast.waiting_reason is not None:
        answer["waiting_reason"] = forecast.waiting_reason
    if forecast.ahead is not None:
        answer["ahead"] = forecast.ahead
    if forecast.estimate is not None:
        answer["estimate"] = _estimate(forecast.estimate)
    if forecast.refusal is not None:
        answer["refusal"] = _refusal(forecast.refusal)
    return answer


def _refusal(error: ServiceError) -> ForecastRefusal:
    """The error with which a submit would be refused."""
    return {
        "status": error.status,
        "code": error.code,
        "detail": error.message,
        "retryable": error.retryable,
        "retry_after": None if error.retry_after is None else advised_s(error.retry_after),
    }

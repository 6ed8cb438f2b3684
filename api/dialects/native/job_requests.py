"""POST /v1/jobs and /v1/estimate, and the query of GET /v1/jobs: what callers send of jobs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from string import whitespace
from typing import Annotated, Any, get_args

from pydantic import Field

from api.dialects.fields import MAX_PAIRS, Metadata, Moment, to_ms
from api.dialects.logprobs import wanted
from api.dialects.media import pictures_beside
from api.dialects.messages import WireMessages, to_messages
from api.dialects.native.page_jobs import PagedDocument, with_document
from api.dialects.openai.chat import TopLogprobs, continues
from api.dialects.sampling import Sampling, to_parameters, to_priority
from api.dialects.strict_json import RequestBody, invalid, read, unsupported
from api.dialects.tools import ToolBodies, ToolChoice, to_tools
from api.dialects.unknown_fields import JOB, PART, REQUEST, contents
from api.dialects.webhooks import JobWebhook, to_webhook
from shared.errors import CallerError
from shared.job import UNSEARCHED, Filter, Priority, Status
from shared.request import Media, Message, Request, Text
from shared.webhooks import RUNNING, Webhook

LONGEST_SEARCH, MOST_CANCELLED = 100, 100


class JobInput(RequestBody):
    constraints = PART | contents("messages")
    prompt: str
    image: str | None = None
    images: list[str] | None = None


class JobParameters(Sampling):
    constraints = REQUEST
    logprobs: bool | None = None
    top_logprobs: TopLogprobs | None = None


NO_PARAMETERS = JobParameters()


class JobBody(RequestBody):
    """Either `messages` or `input` is sent. With `document` it asks each page, by jobs of their own."""

    constraints = JOB
    model: str | None = None
    messages: WireMessages | None = None
    input: JobInput | None = None
    parameters: JobParameters | None = None
    document: PagedDocument | None = None
    continue_final_message: bool | None = None
    metadata: Metadata | None = None
    priority: Priority | int | None = None
    webhook: str | JobWebhook | None = None
    tools: ToolBodies = None
    tool_choice: ToolChoice = None
    parallel_tool_calls: bool | None = None
    finish_by: Moment | None = None
    store: bool | None = None


class CancelBody(RequestBody):
    ids: Annotated[
        list[str], Field(min_length=1, max_length=MOST_CANCELLED, json_schema_extra={"uniqueItems": True})
    ]


@dataclass
class JobCall:
    """A job to be made. The request's `model` is as the caller wrote it, "" for none."""

    request: Request
    metadata: dict[str, str]
    priority: Priority
    finish_by_ms: int | None = None
    webhook: Webhook | None = None
    stored: bool = True
    paged: bool = False


def from_job(body: Any) -> JobCall:
    """Raises CallerError naming the field."""
    call = read(JobBody, body)
    messages, webhook = _messages(call), to_webhook(call.webhook)
    if call.document is not None:
        _check_paged(call, messages, webhook)
        messages = with_document(messages, call.document)
    arguments = call.parameters or NO_PARAMETERS
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
        priority=_priority(call.priority),
        finish_by_ms=to_ms("finish_by", call.finish_by),
        webhook=webhook,
        stored=call.store is not False,
        paged=call.document is not None,
    )


def _priority(sent: Priority | int | None) -> Priority:
    """vLLM's numbers are ours, too."""
    return to_priority(None, sent) if isinstance(sent, int) else sent or "normal"


def _check_paged(call: JobBody, messages: tuple[Message, ...], webhook: Webhook | None) -> None:
    """Raises CallerError naming what a job of pages does not take."""
    fields = {"finish_by": call.finish_by is not None, "store": call.store is False}
    fields |= {"priority": _priority(call.priority) not in ("normal", "batch")}
    # All pages are read at once: with likelihoods they may be a gigabyte.
    fields |= {"parameters.logprobs": bool(call.parameters and call.parameters.logprobs)}
    for name, is_set in fields.items():
        if is_set:
            raise unsupported(name)
    if webhook is not None and RUNNING in webhook.events:
        raise invalid("webhook.events", f"cannot name {RUNNING} for a job of pages")
    if any(isinstance(part, Media) for turn in messages for part in turn.parts):
        raise invalid("document", "takes no other picture, sound, video or document beside it")


def from_cancel(body: Any) -> list[str]:
    """The jobs to cancel. Raises CallerError naming the field."""
    ids = read(CancelBody, body).ids
    if len(set(ids)) < len(ids):
        raise invalid("ids", "names a job twice")
    return ids


def _messages(call: JobBody) -> tuple[Message, ...]:
    if call.messages is not None and call.input is None:
        return to_messages(call.messages, "messages")
    if call.input is not None and call.messages is None:
        return (_question(call.input),)
    raise CallerError("invalid_request", "Send either `messages` or `input`.", param="messages")


def _question(body: JobInput) -> Message:
    """Pictures first, then the prompt: the order of every other short form, so that they share the cache."""
    pictures, _ = pictures_beside(body.image, body.images, "input")
    return Message(role="user", parts=(*pictures, Text(text=body.prompt)))


def from_query(one: Callable[[str], str | None], several: Callable[[str], Sequence[str]]) -> Filter:
    """The filter of a list of jobs; `one` and `several` read the query's values by name.

    Raises CallerError naming the parameter.
    """
    return Filter(
        statuses=[_of("status", status, Status) for status in several("status")],
        search=_search(one("search")),
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


def _search(text: str | None) -> str | None:
    if text is not None and not 0 < len(text.strip()) <= LONGEST_SEARCH:
        raise invalid("search", f"should have 1 to {LONGEST_SEARCH} characters")
    if text is not None and not text.strip(UNSEARCHED + whitespace):
        raise invalid("search", f"should have more than {' '.join(UNSEARCHED)}, which are searched as spaces")
    return text


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

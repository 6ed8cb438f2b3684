"""A response's stream: the events of its job, translated into OpenAI's events and numbered.

    seq 0   response.created
    seq 1   response.queued where it is one in the background, then response.in_progress when a worker begins;
            any other is response.in_progress at once
    …       response.output_item.added, response.content_part.added, and a response.output_text.delta for each
            text; before a call and at the end response.output_text.done, response.content_part.done,
            response.output_item.done; words after a call are another item; thoughts are one before,
            with response.reasoning_text.delta and .done
    …       for a call, once it is whole, response.output_item.added, then
            response.function_call_arguments.delta and .done, response.output_item.done
    last    response.completed, response.incomplete or response.failed; OpenAI has no event for a cancelled
            one, which gets response.failed with the status `cancelled`

The job's events decide all of it, so they give the same events under the same numbers to every reader.
"""

from dataclasses import replace
from typing import Annotated, Any, Literal, NotRequired, cast

from pydantic import Field
from typing_extensions import TypedDict

from api.dialects.calls import Piece, TextPiece, ToolCallSplitter
from api.dialects.logprobs import ChatTokenLogprob, to_content
from api.dialects.openai.errors import StreamError, to_stream_error
from api.dialects.openai.response_object import (
    OutputItem,
    ReasoningText,
    ResponseMessage,
    ResponseObject,
    ResponseText,
    ResponseThought,
    StoredResponse,
    status_of,
    to_function_call,
    to_message,
    to_output,
    to_part,
    to_reasoning_text,
    to_response,
    to_thought,
)
from shared.errors import ServiceError
from shared.job import LEAP, Event, JobView, Status
from shared.result import Result, logprobs_of
from shared.tool_calls.call import ParsedCall
from shared.tool_calls.thoughts import syntax_in

LAST_EVENTS = {"completed": "response.completed", "incomplete": "response.incomplete"}


class ResponseEvent(TypedDict):
    """One event of a response's stream, numbered from 0."""

    type: str
    sequence_number: int
    response: NotRequired[
        Annotated[ResponseObject, Field(description="created, queued, in_progress and the last")]
    ]
    item: NotRequired[Annotated[OutputItem, Field(description="output_item.…")]]
    part: NotRequired[Annotated[ResponseText | ReasoningText, Field(description="content_part.…")]]
    delta: NotRequired[
        Annotated[str, Field(description="output_text.…, reasoning_text.…, function_call_arguments.delta")]
    ]
    name: NotRequired[Annotated[str, Field(description="function_call_arguments.done")]]
    arguments: NotRequired[Annotated[str, Field(description="function_call_arguments.done")]]
    text: NotRequired[Annotated[str, Field(description="output_text.done, reasoning_text.done")]]
    logprobs: NotRequired[Annotated[list[ChatTokenLogprob], Field(description="output_text.…")]]
    item_id: NotRequired[str]
    output_index: NotRequired[int]
    content_index: NotRequired[int]


class ResponseErrorEvent(StreamError):  # noqa: N818 - no exception
    """OpenAI's `error` event, with what its clients read at the end of any stream that fails."""

    type: Literal["error"]
    sequence_number: int
    code: str
    message: str
    param: str | None


class ResponseEventWriter:
    """Makes the events of one response in order; `next_number` is the next one's."""

    def __init__(self, response: StoredResponse) -> None:
        self._response = response
        self._begun = not response.fields.background
        self._splitter: ToolCallSplitter | None = None
        self._items = 0
        self._calls = 0
        self._messages = 0
        # The index of the unfinished message or thought, and its text so far.
        self._open_at: int | None = None
        self._open_id = ""
        self._thinks = False
        self._pieces: list[TextPiece] = []
        self._last_id = 0
        self.next_number = 0

    def opening(self) -> list[ResponseEvent]:
        """The events before the job's first one."""
        if self._begun:
            return [self._life("response.created", "running"), self._life("response.in_progress", "running")]
        return [self._life("response.created", "queued"), self._life("response.queued", "queued")]

    def error(self, error: ServiceError) -> ResponseErrorEvent:
        """The last event where the stream fails; a job that fails ends with `response.failed`."""
        own = {"code": error.code, "message": error.message, "param": error.param}
        event = {**to_stream_error(error), "type": "error", "sequence_number": self.next_number, **own}
        return cast(ResponseErrorEvent, event)

    def skip_lost(self, event: Event) -> range:
        """Skip the numbers of events that the store lost before this one, as the ids show; returns them."""
        first, skipped = self.next_number, event.id - self._last_id - 1
        self._last_id = event.id
        # Fewer were taken back before anybody read them: their numbers were never sent.
        if skipped >= LEAP:
            self.next_number += skipped
        return range(first, self.next_number)

    def events(self, event: Event) -> list[ResponseEvent]:
        """The response's events for one event of the job that is not its last."""
        if event.type == "running":
            return self._beginning()
        if event.type != "text":
            return []
        if self._splitter is None:
            self._splitter = ToolCallSplitter(syntax_in(event.data))
        return self._split(self._splitter.feed(event.data["text"], logprobs_of(event.data) or ()))

    def ending(self, job: JobView) -> list[ResponseEvent]:
        """The remaining events, of a job that has ended."""
        last = LAST_EVENTS.get(status_of(job), "response.failed")
        rest = [] if job.result is None else self._rest(job.result)
        return [*rest, self._event(last, response=to_response(replace(self._response, job=job)))]

    def _beginning(self) -> list[ResponseEvent]:
        if self._begun:
            return []
        self._begun = True
        return [self._life("response.in_progress", "running")]

    def _split(self, pieces: list[Piece]) -> list[ResponseEvent]:
        events: list[ResponseEvent] = []
        for piece in pieces:
            events += self._call(piece) if isinstance(piece, ParsedCall) else self._text(piece)
        return events

    def _text(self, piece: TextPiece) -> list[ResponseEvent]:
        opening = self._open(is_thought=piece.is_thought)
        self._pieces.append(piece)
        if piece.is_thought:
            return [*opening, self._part("response.reasoning_text.delta", delta=piece.text)]
        logprobs = to_content(piece.logprobs)
        return [*opening, self._part("response.output_text.delta", delta=piece.text, logprobs=logprobs)]

    def _call(self, called: ParsedCall) -> list[ResponseEvent]:
        before = self._beginning() if self._open_at is None else self._close(self._unfinished())
        job, at, number = self._response.job.id, self._items, self._calls
        self._items += 1
        self._calls += 1
        item = to_function_call(job, number, called)
        place = {"item_id": item["id"], "output_index": at}
        begun, text = to_function_call(job, number, called, "in_progress"), called.arguments
        return [
            *before,
            self._event("response.output_item.added", output_index=at, item=begun),
            self._event("response.function_call_arguments.delta", **place, delta=text),
            self._event("response.function_call_arguments.done", **place, name=called.name, arguments=text),
            self._event("response.output_item.done", output_index=at, item=item),
        ]

    def _open(self, *, is_thought: bool) -> list[ResponseEvent]:
        if self._open_at is not None and is_thought == self._thinks:
            return []
        before = self._beginning() if self._open_at is None else self._close(self._unfinished())
        self._open_at, self._thinks = self._items, is_thought
        self._items += 1
        job = self._response.job.id
        part: ResponseText | ReasoningText = to_part(TextPiece("", ()))
        item: OutputItem = to_message(job, self._messages, "in_progress", [])
        if is_thought:
            item, part = to_thought(job, "in_progress", []), to_reasoning_text("")
        self._open_id = item["id"]
        return [
            *before,
            self._event("response.output_item.added", output_index=self._open_at, item=item),
            self._part("response.content_part.added", part=part),
        ]

    def _rest(self, result: Result) -> list[ResponseEvent]:
        rest = [] if self._splitter is None else self._split(self._splitter.close())
        last = to_output(self._response.job.id, result)[-1]
        if last["type"] == "function_call":
            return rest
        return [*rest, *self._open(is_thought=last["type"] == "reasoning"), *self._close(last)]

    def _unfinished(self) -> ResponseMessage | ResponseThought:
        """The unfinished item as it stands, completed."""
        text = "".join(piece.text for piece in self._pieces)
        job, logprobs = self._response.job.id, tuple(t for piece in self._pieces for t in piece.logprobs)
        if self._thinks:
            return to_thought(job, "completed", [to_reasoning_text(text)])
        return to_message(job, self._messages, "completed", [to_part(TextPiece(text, logprobs))])

    def _close(self, item: ResponseMessage | ResponseThought) -> list[ResponseEvent]:
        [part] = item["content"]
        own = {name: value for name, value in part.items() if name in ("text", "logprobs")}
        events = [
            self._part(f"response.{part['type']}.done", **own),
            self._part("response.content_part.done", part=part),
            self._event("response.output_item.done", output_index=self._open_at, item=item),
        ]
        self._messages += item["type"] == "message"
        self._open_at, self._pieces = None, []
        return events

    def _life(self, kind: str, status: Status) -> ResponseEvent:
        """An event with the response as it was at that time, whatever became of it since."""
        job = replace(self._response.job, status=status, result=None, error=None, ended_ms=None)
        return self._event(kind, response=to_response(replace(self._response, job=job)))

    def _part(self, kind: str, **fields: Any) -> ResponseEvent:
        return self._event(kind, item_id=self._open_id, output_index=self._open_at, content_index=0, **fields)

    def _event(self, kind: str, **fields: Any) -> ResponseEvent:
        number, self.next_number = self.next_number, self.next_number + 1
        return cast(ResponseEvent, {"type": kind, "sequence_number": number, **fields})

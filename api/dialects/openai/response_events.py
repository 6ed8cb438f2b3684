"""A response's stream: the events of its job, translated into OpenAI's events and numbered.

    seq 0   response.created
    seq 1   response.queued where it is one in the background, then response.in_progress when a worker begins;
            any other is response.in_progress at once
    …       response.output_item.added, response.content_part.added, and a response.output_text.delta for each
            text; before a call and at the end response.output_text.done, response.content_part.done,
            response.output_item.done; words after a call are another item
    …       for a call, once it is whole, response.output_item.added, then
            response.function_call_arguments.delta and .done, response.output_item.done
    last    response.completed, response.incomplete or response.failed; OpenAI has no event for a cancelled
            one, which gets response.failed with the status `cancelled`

The job's events decide all of it, so they give the same events under the same numbers to every reader.
"""

from dataclasses import replace
from typing import Any

from api.dialects.calls import Apart, Heard, Words
from api.dialects.logprobs import to_content
from api.dialects.openai.response_object import (
    Kept,
    function_call,
    message,
    message_id,
    part,
    status_of,
    to_output,
    to_response,
)
from shared.job import LEAP, Event, JobView, Status
from shared.result import Result, logprobs_of
from shared.tool_calls.call import Called

Told = dict[str, Any]
LAST = {"completed": "response.completed", "incomplete": "response.incomplete"}


class Story:
    """Makes the events of one response in order. `told` counts them: it is the next one's number."""

    def __init__(self, kept: Kept) -> None:
        self._kept = kept
        self._begun = not kept.outline.background
        self._apart: Apart | None = None
        self._items = 0
        self._calls = 0
        # The index of the unfinished message, and its words so far.
        self._open_at: int | None = None
        self._said: list[Words] = []
        self._last_id = 0
        self.told = 0

    def opening(self) -> list[Told]:
        """The events before the job's first one."""
        if self._begun:
            return [self._life("response.created", "running"), self._life("response.in_progress", "running")]
        return [self._life("response.created", "queued"), self._life("response.queued", "queued")]

    def pass_over(self, event: Event) -> range:
        """Skip the numbers of events that the store lost before this one, as the ids show; returns them."""
        first, skipped = self.told, event.id - self._last_id - 1
        self._last_id = event.id
        # Fewer were taken back before anybody read them: their numbers were never told.
        if skipped >= LEAP:
            self.told += skipped
        return range(first, self.told)

    def of(self, event: Event) -> list[Told]:
        """The response's events for one event of the job that is not its last."""
        if event.type == "running":
            return self._beginning()
        if event.type != "text":
            return []
        if self._apart is None:
            self._apart = Apart(event.data.get("syntax"))
        return self._heard(self._apart.feed(event.data["text"], logprobs_of(event.data) or ()))

    def ending(self, view: JobView) -> list[Told]:
        """The remaining events, of a job that has ended."""
        last = LAST.get(status_of(view), "response.failed")
        rest = [] if view.result is None else self._rest(view.result)
        return [*rest, self._tell(last, response=to_response(replace(self._kept, view=view)))]

    def _beginning(self) -> list[Told]:
        if self._begun:
            return []
        self._begun = True
        return [self._life("response.in_progress", "running")]

    def _heard(self, heard: list[Heard]) -> list[Told]:
        found: list[Told] = []
        for piece in heard:
            found += self._called(piece) if isinstance(piece, Called) else self._words(piece)
        return found

    def _words(self, words: Words) -> list[Told]:
        begun = self._speaking()
        self._said.append(words)
        logprobs = to_content(words.logprobs)
        return [*begun, self._piece("response.output_text.delta", delta=words.text, logprobs=logprobs)]

    def _called(self, called: Called) -> list[Told]:
        before = self._beginning() if self._open_at is None else self._over(self._message())
        job, at, number = self._kept.view.id, self._items, self._calls
        self._items += 1
        self._calls += 1
        item = function_call(job, number, called)
        place = {"item_id": item["id"], "output_index": at}
        begun, whole = function_call(job, number, called, "in_progress"), called.arguments
        return [
            *before,
            self._tell("response.output_item.added", output_index=at, item=begun),
            self._tell("response.function_call_arguments.delta", **place, delta=whole),
            self._tell("response.function_call_arguments.done", **place, name=called.name, arguments=whole),
            self._tell("response.output_item.done", output_index=at, item=item),
        ]

    def _speaking(self) -> list[Told]:
        if self._open_at is not None:
            return []
        before = self._beginning()
        self._open_at = self._items
        self._items += 1
        item = message(self._kept.view.id, self._number(), "in_progress", [])
        return [
            *before,
            self._tell("response.output_item.added", output_index=self._open_at, item=item),
            self._piece("response.content_part.added", part=part(Words("", ()))),
        ]

    def _rest(self, result: Result) -> list[Told]:
        rest = [] if self._apart is None else self._heard(self._apart.close())
        last = to_output(self._kept.view.id, result)[-1]
        return [*rest, *self._speaking(), *self._over(last)] if last["type"] == "message" else rest

    def _message(self) -> Told:
        """The unfinished message as it stands, completed."""
        text = "".join(words.text for words in self._said)
        logprobs = tuple(token for words in self._said for token in words.logprobs)
        return message(self._kept.view.id, self._number(), "completed", [part(Words(text, logprobs))])

    def _over(self, item: Told) -> list[Told]:
        [whole] = item["content"]
        told = [
            self._piece("response.output_text.done", text=whole["text"], logprobs=whole["logprobs"]),
            self._piece("response.content_part.done", part=whole),
            self._tell("response.output_item.done", output_index=self._open_at, item=item),
        ]
        self._open_at, self._said = None, []
        return told

    def _life(self, kind: str, status: Status) -> Told:
        """An event with the response as it was at that time, whatever became of it since."""
        view = replace(self._kept.view, status=status, result=None, error=None, ended_ms=None)
        return self._tell(kind, response=to_response(replace(self._kept, view=view)))

    def _number(self) -> int:
        """The unfinished message's number among the answer's messages."""
        return (self._open_at or 0) - self._calls

    def _piece(self, kind: str, **fields: Any) -> Told:
        own = message_id(self._kept.view.id, self._number())
        return self._tell(kind, item_id=own, output_index=self._open_at, content_index=0, **fields)

    def _tell(self, kind: str, **fields: Any) -> Told:
        number, self.told = self.told, self.told + 1
        return {"type": kind, "sequence_number": number, **fields}

"""A response's stream: the events of its job, retold and numbered in OpenAI's words.

    seq 0   response.created
    seq 1   response.queued where it is one in the background, then response.in_progress when a worker begins;
            any other is response.in_progress at once
    …       response.output_item.added, response.content_part.added, and a response.output_text.delta for each
            text; for a call, once it is whole, response.output_item.added, then
            response.function_call_arguments.delta and .done, response.output_item.done
    …       response.output_text.done, response.content_part.done, response.output_item.done, where it spoke
    last    response.completed, response.incomplete or response.failed; OpenAI has no event for a cancelled
            one, which is told as failed with the status `cancelled`

The job's events decide all of it, so they give the same events under the same numbers to every reader.
"""

from dataclasses import replace
from typing import Any

from api.dialects.calls import told
from api.dialects.logprobs import to_content
from api.dialects.response_object import (
    Kept,
    function_call,
    message,
    message_id,
    part,
    status_of,
    to_message,
    to_part,
    to_response,
)
from shared.calls.called import Called
from shared.calls.reader import Reader, Said
from shared.job import Event, JobView, Status
from shared.logprobs import Logprobs, logprobs_of
from shared.result import Result

Told = dict[str, Any]
LAST = {"completed": "response.completed", "incomplete": "response.incomplete"}


class Story:
    """Tells the events of one response in their order. `told` counts them: the next one has this number."""

    def __init__(self, kept: Kept) -> None:
        self._kept = kept
        self._begun = not kept.outline.background
        self._reader: Reader | None = None
        self._items = 0
        self._spoken_at: int | None = None
        self._logprobs: Logprobs = ()
        self.told = 0

    def opening(self) -> list[Told]:
        """What comes before anything that the job tells."""
        if self._begun:
            return [self._life("response.created", "running"), self._life("response.in_progress", "running")]
        return [self._life("response.created", "queued"), self._life("response.queued", "queued")]

    def of(self, event: Event) -> list[Told]:
        """What one event of the job means, which is not its last."""
        if event.type == "running":
            return self._beginning()
        if event.type != "text":
            return []
        self._logprobs += logprobs_of(event.data) or ()
        if self._reader is None and "syntax" in event.data:
            self._reader = Reader(event.data["syntax"])
        text = event.data["text"]
        return self._heard([text] if self._reader is None else self._reader.feed(text))

    def ending(self, view: JobView) -> list[Told]:
        """The rest, of a job that has ended."""
        last = LAST.get(status_of(view), "response.failed")
        rest = [] if view.result is None else self._spoken(view.result)
        return [*rest, self._tell(last, response=to_response(replace(self._kept, view=view)))]

    def _beginning(self) -> list[Told]:
        if self._begun:
            return []
        self._begun = True
        return [self._life("response.in_progress", "running")]

    def _heard(self, said: list[Said]) -> list[Told]:
        found: list[Told] = []
        for piece in said:
            found += self._called(piece) if isinstance(piece, Called) else self._words(piece)
        return found

    def _words(self, words: str) -> list[Told]:
        logprobs, self._logprobs = to_content(self._logprobs), ()
        return [
            *self._speaking(),
            self._piece("response.output_text.delta", delta=words, logprobs=logprobs),
        ]

    def _called(self, called: Called) -> list[Told]:
        job, at = self._kept.view.id, self._items
        number = at - (self._spoken_at is not None)
        self._items += 1
        item = function_call(job, number, called)
        place = {"item_id": item["id"], "output_index": at}
        begun, whole = function_call(job, number, called, "in_progress"), called.arguments
        return [
            *self._beginning(),
            self._tell("response.output_item.added", output_index=at, item=begun),
            self._tell("response.function_call_arguments.delta", **place, delta=whole),
            self._tell("response.function_call_arguments.done", **place, name=called.name, arguments=whole),
            self._tell("response.output_item.done", output_index=at, item=item),
        ]

    def _speaking(self) -> list[Told]:
        if self._spoken_at is not None:
            return []
        self._spoken_at = self._items
        self._items += 1
        item = message(self._kept.view.id, "in_progress", [])
        return [
            *self._beginning(),
            self._tell("response.output_item.added", output_index=self._spoken_at, item=item),
            self._piece("response.content_part.added", part=part("", [])),
        ]

    def _spoken(self, result: Result) -> list[Told]:
        rest = self._heard(self._reader.close()) if self._reader else []
        answer = result.choices[0]
        words = told(answer.text, result.syntax).words
        if words is None:
            return rest
        whole = to_part(answer, words)
        item = to_message(self._kept.view.id, answer, words)
        return [
            *rest,
            *self._speaking(),
            self._piece("response.output_text.done", text=words, logprobs=whole["logprobs"]),
            self._piece("response.content_part.done", part=whole),
            self._tell("response.output_item.done", output_index=self._spoken_at, item=item),
        ]

    def _life(self, kind: str, status: Status) -> Told:
        """The response as it was then, whatever became of it since."""
        view = replace(self._kept.view, status=status, result=None, error=None, ended_ms=None)
        return self._tell(kind, response=to_response(replace(self._kept, view=view)))

    def _piece(self, kind: str, **fields: Any) -> Told:
        own = message_id(self._kept.view.id)
        return self._tell(kind, item_id=own, output_index=self._spoken_at, content_index=0, **fields)

    def _tell(self, kind: str, **fields: Any) -> Told:
        number, self.told = self.told, self.told + 1
        return {"type": kind, "sequence_number": number, **fields}

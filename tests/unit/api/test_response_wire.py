"""What /v1/responses answers: the object, its events and its input, as OpenAI's clients read them."""

from dataclasses import replace
from typing import Any

import pytest
from openai.types.responses import ResponseStreamEvent
from pydantic import TypeAdapter

from api.dialects.openai.response_events import ResponseEventWriter
from api.dialects.openai.response_items import input_items, page, to_item_list
from api.dialects.openai.response_object import StoredResponse, to_response
from api.dialects.openai.responses import from_response
from shared.errors import CallerError
from shared.job import Event, JobView
from shared.result import Candidate, TokenLogprob
from tests.support.golden import assert_golden
from tests.support.views import QUEUED, answered, failed, succeeded

SCHEMA = {"type": "object", "properties": {"colour": {"type": "string"}}}
URL = "https://example.org/a.png"
SHOWN = [{"type": "input_text", "text": "What is this?"}, {"type": "input_image", "image_url": URL}]
ASKED: dict[str, Any] = {
    "input": [
        {"role": "user", "content": SHOWN},
        {"role": "assistant", "content": [{"type": "output_text", "text": "A square."}]},
        {"role": "user", "content": "Which colour?"},
    ],
    "instructions": "Be brief.",
    "max_output_tokens": 16,
    "temperature": 0.5,
    "top_p": 0.9,
    "service_tier": "flex",
    "text": {"format": {"type": "json_schema", "name": "seen", "schema": SCHEMA, "strict": True}},
    "user": "u1",
}
TOLD = (TokenLogprob(0, Candidate("A red", -0.25), (Candidate("A red", -0.25), Candidate("Blue", -2.5))),)
STORY = (
    Event(1, "queued", {}, 1_700_000_000_125),
    Event(2, "running", {"attempt": 1}, 1_700_000_000_250),
    Event(3, "text", {"start": 0, "text": "A red", "ids": [1], "logprobs": TOLD}, 1_700_000_000_300),
    Event(4, "requeued", {"reason": "worker_lost"}, 1_700_000_000_400),
    Event(5, "running", {"attempt": 2}, 1_700_000_000_500),
    Event(6, "text", {"start": 5, "text": " square.", "ids": [2, 3]}, 1_700_000_000_600),
)


def stored(view: JobView = QUEUED, **asked: Any) -> StoredResponse:
    call = from_response({**ASKED, **asked})
    return StoredResponse(replace(view, priority=call.priority), call.request, call.fields)


def cut() -> JobView:
    return answered(choice={"finish_reason": "length", "logprobs": TOLD})


def story(held: StoredResponse, *events: Event, ended: JobView | None = None) -> list[Any]:
    told = ResponseEventWriter(held)
    said = [*told.opening(), *(t for event in events for t in told.events(event))]
    return said if ended is None else [*said, *told.ending(ended)]


RESPONSES = {
    "queued": stored(background=True, previous_response_id="resp_0"),
    "in_progress": stored(replace(QUEUED, status="running")),
    "completed": stored(succeeded()),
    "incomplete": stored(cut(), include=["message.output_text.logprobs"], top_logprobs=2),
    "failed": stored(failed()),
    "cancelled": stored(replace(QUEUED, status="cancelled"), background=True),
}


def test_a_response_is_what_openais_clients_read_at_every_moment_of_its_life() -> None:
    assert_golden("responses", [to_response(held) for held in RESPONSES.values()])


def test_the_schema_that_an_answer_is_held_to_is_told() -> None:
    held = {"name": "seen", "strict": True, "schema": {**SCHEMA, "additionalProperties": False}}
    plain: dict[str, Any] = {"type": "json_object"}
    asked: list[Any] = [{}, {"text": None}, {"text": {"format": plain}}]
    told = [to_response(stored(**said))["text"]["format"] for said in asked]
    assert told == [{"type": "json_schema", **held}, {"type": "text"}, plain]


def test_a_stream_is_what_openais_clients_read() -> None:
    assert_golden("response_events", story(stored(), *STORY, ended=cut()))


@pytest.mark.parametrize("background", [False, True])
def test_openais_own_types_take_every_event_and_their_numbers_have_no_gap(background: bool) -> None:
    told = story(stored(background=background), *STORY, ended=succeeded())

    assert [t["sequence_number"] for t in told] == list(range(len(told)))
    for said in told:
        event: Any = TypeAdapter(ResponseStreamEvent).validate_python(said)
        assert event.type == said["type"]


def kinds(told: list[Any]) -> list[str]:
    return [t["type"].removeprefix("response.") for t in told]


ADDED = ["in_progress", "output_item.added", "content_part.added"]


def test_a_response_in_the_background_waits_in_line_before_it_is_in_progress() -> None:
    whole = story(stored(background=True), *STORY, ended=succeeded())

    assert kinds(whole)[:6] == ["created", "queued", *ADDED, "output_text.delta"]
    assert [t["response"]["status"] for t in whole[:3]] == ["queued", "queued", "in_progress"]
    assert kinds(whole).count("in_progress") == 1, "told again for the second attempt"


def test_an_answer_that_was_known_already_is_told_as_a_whole_story() -> None:
    told = story(stored(background=True), STORY[0], ended=succeeded(""))

    spoken = ["output_text.done", "content_part.done", "output_item.done"]
    assert kinds(told) == ["created", "queued", *ADDED, *spoken, "completed"]


CANCELLED = replace(QUEUED, status="cancelled")


@pytest.mark.parametrize(
    ("ended", "last"),
    [(succeeded(), "completed"), (cut(), "incomplete"), (failed(), "failed"), (CANCELLED, "failed")],
)
def test_the_last_event_says_how_it_ended(ended: JobView, last: str) -> None:
    told = story(stored(), *STORY, ended=ended)

    assert kinds(told)[-1] == last
    assert told[-1]["response"]["status"] == to_response(stored(ended))["status"]
    assert ("output_item.done" in kinds(told)) == (ended.result is not None)


def test_a_page_of_the_input_ends_and_says_so() -> None:
    items = input_items(stored())
    newest, more = page(items, limit=2, after=None, ascending=False)
    oldest, no_more = page(items, limit=2, after=newest[-1][0], ascending=False)

    assert [*newest, *oldest] == items[::-1]
    assert (more, no_more) == (True, False)
    assert to_item_list([], has_more=False, media={})["first_id"] is None
    with pytest.raises(CallerError, match="names no item"):
        page(items, limit=2, after="msg_0", ascending=True)

"""OpenAI's Responses as its clients in Python ask for them: their helpers, their types, their errors."""

from typing import Any

import openai
import pytest
from pydantic import BaseModel

from tests.contract.conftest import ECHO, FAILING, STALLING, TINY
from tests.support.clients import until

ASK: dict[str, Any] = {"model": ECHO, "input": "What is this?"}
ANSWER = "What is this?"
ENDED = ("completed", "incomplete", "failed", "cancelled")


class Seen(BaseModel):
    round: bool


def ended(client: Any, id: str) -> Any:
    return until(lambda: (seen := client.responses.retrieve(id)).status in ENDED and seen)


def test_a_response_is_created_and_its_text_read(client: Any) -> None:
    response = client.responses.create(**ASK, instructions="Be brief.", metadata={"shop": "7"})
    assert (response.status, response.output_text) == ("completed", ANSWER)
    assert (response.instructions, response.metadata) == ("Be brief.", {"shop": "7"})
    assert (response.usage.total_tokens, response.usage.input_tokens_details.cached_tokens) == (8, 0)


def test_an_answer_in_a_format_is_parsed_whole_and_streamed(client: Any) -> None:
    asked: dict[str, Any] = {"model": TINY, "input": ANSWER, "text_format": Seen}
    whole = client.responses.parse(**asked)
    with client.responses.stream(**asked) as stream:
        texts = [event.snapshot for event in stream if event.type == "response.output_text.delta"]
        final = stream.get_final_response()
    assert isinstance(whole.output_parsed, Seen)
    assert (final.output_parsed, final.status) == (whole.output_parsed, "completed")
    assert texts[-1] == whole.output_text


def test_a_conversation_is_continued_by_id_or_by_sending_the_answer_back(client: Any) -> None:
    first = client.responses.create(**ASK)
    by_id = client.responses.create(model=ECHO, input="Are you sure?", previous_response_id=first.id)
    history: list[Any] = [{"role": "user", "content": ASK["input"]}]
    history += first.output
    history += [{"role": "user", "content": "Are you sure?"}]
    sent = client.responses.with_raw_response.create(model=ECHO, input=history)
    items = list(client.responses.input_items.list(by_id.id, order="asc", limit=2))

    assert by_id.output_text == "Are you sure?"
    assert sent.headers["x-cache"] == "HIT", "the two ask the same"
    assert [item.role for item in items] == ["user", "assistant", "user"]


def test_a_response_in_the_background_lives_from_creation_to_deletion(client: Any) -> None:
    created = client.responses.create(**ASK, background=True, extra_headers={"x-use-cache": "false"})
    done = ended(client, created.id)
    late = client.responses.cancel(created.id)
    client.responses.delete(created.id)
    with pytest.raises(openai.NotFoundError) as gone:
        client.responses.retrieve(created.id)

    assert (created.output_text, done.status, done.output_text, late) == ("", "completed", ANSWER, done)
    assert gone.value.code == "response_not_found"


def test_a_response_in_the_background_is_cancelled(client: Any) -> None:
    created = client.responses.create(model=ECHO, input=STALLING, background=True)
    cancelled = client.responses.cancel(created.id)
    again = client.responses.cancel(created.id)
    assert (cancelled.status, cancelled) == ("cancelled", again)


def test_a_response_that_fails_in_the_background_says_why(client: Any) -> None:
    created = client.responses.create(model=ECHO, input=FAILING, background=True)
    failed = ended(client, created.id)
    assert (failed.status, failed.output, failed.error.code) == ("failed", [], "attempts_exhausted")


def test_a_stream_numbers_its_events_and_is_taken_up_where_it_was_left(client: Any) -> None:
    anew = {"x-use-cache": "false"}
    stream = client.responses.create(**ASK, background=True, stream=True, extra_headers=anew)
    seen = []
    for event in stream:
        seen.append(event)
        if event.type == "response.output_text.delta":
            break
    stream.close()
    response, after = seen[0].response.id, seen[-1].sequence_number
    rest = list(client.responses.retrieve(response, stream=True, starting_after=after))
    whole = list(client.responses.retrieve(response, stream=True))
    with client.responses.stream(response_id=response, starting_after=after) as helped:
        filtered = [event.sequence_number for event in helped]
        final = helped.get_final_response()

    assert [*seen, *rest] == whole
    assert [event.sequence_number for event in whole] == list(range(len(whole)))
    assert filtered == [event.sequence_number for event in rest]
    assert final.output_text == ANSWER

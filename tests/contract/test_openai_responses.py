"""OpenAI's Responses as its clients in Python ask for them: their helpers, their types, their errors."""

import base64
from typing import Any

import openai
import pytest
from pydantic import BaseModel

from tests.contract.conftest import ECHO, FAILING, STALLING, TINY, UNSERVED
from tests.support.clients import until
from tests.support.pictures import picture

ASK: dict[str, Any] = {"model": ECHO, "input": "What is this?"}
ANSWER = "What is this?"
ENDED = ("completed", "incomplete", "failed", "cancelled")
PICTURE = picture(size=(9, 7))


class Seen(BaseModel):
    round: bool


def asking(*parts: dict[str, Any]) -> dict[str, Any]:
    """A question with these beside its words."""
    content = [{"type": "input_text", "text": ANSWER}, *parts]
    return {"model": ECHO, "input": [{"role": "user", "content": content}]}


def ended(client: Any, id: str) -> Any:
    return until(lambda: (seen := client.responses.retrieve(id)).status in ENDED and seen)


def test_a_response_is_created_and_its_text_read(client: Any) -> None:
    response = client.responses.create(**ASK, instructions="Be brief.", metadata={"shop": "7"})
    assert (response.status, response.output_text) == ("completed", ANSWER)
    assert (response.instructions, response.metadata) == ("Be brief.", {"shop": "7"})
    assert (response.usage.total_tokens, response.usage.input_tokens_details.cached_tokens) == (8, 0)


def test_a_picture_is_shown_by_its_bytes_or_its_file(client: Any) -> None:
    file = client.files.create(file=("a.png", PICTURE), purpose="vision")
    uri = f"data:image/png;base64,{base64.b64encode(PICTURE).decode()}"
    parts: list[dict[str, Any]] = [
        {"type": "input_image", "image_url": uri, "detail": "auto"},
        {"type": "input_image", "file_id": file.id, "detail": "auto"},
    ]
    texts = [client.responses.create(**asking(part)).output_text for part in parts]
    assert texts == [f"{ANSWER} [9x7]"] * 2


def test_an_answer_in_a_format_is_parsed_whole_and_streamed(client: Any) -> None:
    asked: dict[str, Any] = {"model": TINY, "input": ANSWER, "text_format": Seen}
    whole = client.responses.parse(**asked)
    with client.responses.stream(**asked) as stream:
        texts = [event.snapshot for event in stream if event.type == "response.output_text.delta"]
        final = stream.get_final_response()
    assert isinstance(whole.output_parsed, Seen)
    assert (final.output_parsed, final.status) == (whole.output_parsed, "completed")
    assert texts[-1] == whole.output_text


def test_how_sure_the_model_was_is_included_where_it_is_asked_for(client: Any) -> None:
    included = ["message.output_text.logprobs"]
    response = client.responses.create(**ASK, include=included, top_logprobs=1)
    told = response.output[0].content[0].logprobs
    assert ["".join(token.token for token in told), len(told[0].top_logprobs)] == [ANSWER, 1]


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


@pytest.mark.parametrize(("model", "text"), [(UNSERVED, "Hi"), (ECHO, STALLING)], ids=["waiting", "running"])
def test_a_response_in_the_background_is_cancelled(client: Any, model: str, text: str) -> None:
    created = client.responses.create(model=model, input=text, background=True)
    cancelled = client.responses.cancel(created.id)
    again = client.responses.cancel(created.id)
    assert (cancelled.status, cancelled) == ("cancelled", again)


def test_a_response_that_fails_in_the_background_says_why(client: Any) -> None:
    created = client.responses.create(model=ECHO, input=FAILING, background=True)
    failed = ended(client, created.id)
    assert (failed.status, failed.output, failed.error.code) == ("failed", [], "attempts_exhausted")


def test_only_a_response_in_the_background_is_cancelled(client: Any) -> None:
    done = client.responses.create(**ASK)
    with pytest.raises(openai.BadRequestError, match="Only a response in the background"):
        client.responses.cancel(done.id)


def test_what_is_not_to_be_stored_is_found_no_more(client: Any) -> None:
    answered = client.responses.create(**ASK, store=False)
    assert answered.output_text == ANSWER
    with pytest.raises(openai.NotFoundError):
        until(lambda: not client.responses.retrieve(answered.id))


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


def test_what_is_refused_is_an_error_that_names_the_field(client: Any) -> None:
    with pytest.raises(openai.BadRequestError) as tool:
        client.responses.create(**ASK, tools=[{"type": "web_search"}])
    with pytest.raises(openai.NotFoundError) as unknown:
        client.responses.create(**ASK, previous_response_id="resp_0")
    with pytest.raises(openai.NotFoundError) as model:
        client.responses.create(model="nobody/none", input="Hi")

    refused = [(e.value.code, e.value.param) for e in (tool, unknown, model)]
    assert refused == [
        ("unsupported_parameter", "tools[0].type"),
        ("response_not_found", "previous_response_id"),
        ("model_not_found", "model"),
    ]

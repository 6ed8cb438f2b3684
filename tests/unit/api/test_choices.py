"""Several answers to one question: asked for by every route, each with dice and a price of its own."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from api.dialects.hf import task_answers
from api.dialects.hf.task_requests import from_hf
from api.dialects.native import jobs
from api.dialects.native.job_requests import from_job
from api.dialects.openai import chat, completions
from api.dialects.openai.chat import ChunkHead, from_chat
from api.dialects.openai.completions import from_completion
from shared.errors import CallerError
from shared.job import Event
from shared.models import Model
from shared.request import MOST_CHOICES, Image, Message, Parameters, Request, Text
from shared.result import Choice
from shared.tokens import cost
from sightline.jobs import show_card
from tests.support.openapi import SCHEMA
from tests.support.views import succeeded

Read = Callable[..., Request]
HEAD = ChunkHead("id", "org/model", 1_700_000_000)


def chat_request(**said: Any) -> Request:
    return from_chat({"messages": [{"role": "user", "content": "Hi"}], **said}).request


def text(**said: Any) -> Request:
    return from_completion({"prompt": "Hi", **said}).request


def job(**said: Any) -> Request:
    return from_job({"input": {"prompt": "Hi"}, "parameters": said}).request


def hf(**said: Any) -> Request:
    return from_hf({"inputs": "Hi", "parameters": said}).request


def nested(**said: Any) -> Request:
    return from_hf({"inputs": "Hi", "parameters": {"generate_kwargs": said}}).request


READS = [
    (chat_request, "n", "n"),
    (text, "n", "n"),
    (job, "n", "parameters.n"),
    (hf, "num_return_sequences", "parameters.num_return_sequences"),
    (nested, "num_return_sequences", "parameters.generate_kwargs.num_return_sequences"),
]


@pytest.mark.parametrize(("read", "name", "param"), READS)
def test_several_answers_are_asked_for_by_every_route(read: Read, name: str, param: str) -> None:
    assert read(**{name: 3}).parameters == Parameters(n=3)
    assert read(**{name: 1}) == read() == read(**{name: None}), "one answer is what everybody gets"
    for count in (0, MOST_CHOICES + 1):
        with pytest.raises(CallerError) as refused:
            read(**{name: count})
        assert (refused.value.code, refused.value.param) == ("invalid_request", param)


@pytest.mark.parametrize("given", ["num_return_sequences", "generate_kwargs"])
def test_a_stream_that_has_no_place_for_several_answers_is_refused(given: str) -> None:
    said: dict[str, Any] = {given: 2 if given == "num_return_sequences" else {"num_return_sequences": 2}}
    with pytest.raises(CallerError, match="num_return_sequences") as refused:
        from_hf({"inputs": "Hi", "parameters": said, "stream": True})
    assert refused.value.code == "unsupported_parameter"


def test_the_first_answer_is_the_one_that_who_asks_for_one_would_get() -> None:
    asked = Parameters(seed=7, temperature=1.0, n=3)
    seeds = [asked.of_choice(number).seed for number in range(3)]
    assert seeds[0] == 7
    assert len(set(seeds)) == 3
    assert seeds == [asked.of_choice(number).seed for number in range(3)], "a seed repeats all of them"
    assert not set(seeds[1:]) & {Parameters(seed=8, n=3).of_choice(number).seed for number in range(3)}


def test_without_a_seed_every_answer_has_dice_of_its_own() -> None:
    assert Parameters(temperature=1.0, n=2).of_choice(1).seed is None


@pytest.mark.parametrize("seed", [0, -(2**63), 2**63 - 1])
def test_any_seed_gives_others_that_an_engine_takes(seed: int) -> None:
    for number in range(MOST_CHOICES):
        given = Parameters(seed=seed).of_choice(number).model_dump(exclude_none=True)
        assert Parameters(**given).seed == given["seed"]


def test_who_asks_for_several_answers_pays_for_each_and_once_for_the_prompt() -> None:
    model = Model(id="org/model", engine="echo", max_new_tokens=50)
    message = Message(role="user", parts=(Text(text="x" * 400),))

    def costs(n: int | None) -> int:
        return cost(Request(model="org/model", messages=(message,), parameters=Parameters(n=n)), model, 0)

    assert [costs(n) for n in (None, 2, 8)] == [10 + 50, 10 + 100, 10 + 400]


def test_a_huge_picture_that_takes_little_to_send_costs_more_than_an_ordinary_one() -> None:
    model = Model(id="org/model", engine="echo", max_new_tokens=50)
    message = Message(role="user", parts=(Image(digest="d"),))
    request = Request(model="org/model", messages=(message,))
    assert [cost(request, model, pixels) for pixels in (0, 10**6, 4 * 10**7)] == [76, 96, 876]


def several(*texts: str) -> Any:
    view = succeeded()
    assert view.result is not None
    choices = tuple(Choice(text=text, finish_reason="stop", score=0.5) for text in texts)
    return replace(view, result=view.result.model_copy(update={"choices": choices}))


def test_every_answer_is_told_in_every_family(capsys: pytest.CaptureFixture[str]) -> None:
    view = several("a", "b")
    chats = chat.to_completion(view, "org/model", 1)["choices"]
    assert [(c["index"], c["message"]["content"]) for c in chats] == [(0, "a"), (1, "b")]
    texts = completions.to_text_completion(view, "org/model", 1)["choices"]
    assert [(c["index"], c["text"]) for c in texts] == [(0, "a"), (1, "b")]
    result = jobs.to_job(view)["result"]
    assert (result["text"], [c["text"] for c in result["choices"]]) == ("a", ["a", "b"])
    call = from_hf({"inputs": "Hi", "parameters": {"num_return_sequences": 2}})
    assert task_answers.to_answer(view, call, None) == [{"generated_text": "a"}, {"generated_text": "b"}]
    show_card({**jobs.to_job(view)})
    assert capsys.readouterr().out.splitlines()[-4:] == ["", "a", "", "b"]


@pytest.mark.parametrize(
    "chunk",
    [
        chat.chat_chunk(HEAD, 1, {"content": "b"}),
        completions.text_chunk(HEAD, 1, "b"),
    ],
)
def test_a_chunk_says_which_answer_it_is_of(chunk: dict[str, Any]) -> None:
    assert [choice["index"] for choice in chunk["choices"]] == [1]


def test_an_event_says_which_answer_it_is_of() -> None:
    event = Event(3, "text", {"choice": 1, "start": 0, "text": "b", "ids": [1]}, 1_700_000_000_700)
    assert jobs.to_event(event, several("a", "b"))[2]["choice"] == 1


@pytest.mark.parametrize(
    ("body", "name"),
    [
        ("ChatBody", "n"),
        ("CompletionBody", "n"),
        ("JobParameters", "n"),
        ("HfParameters", "num_return_sequences"),
    ],
)
def test_the_api_description_says_how_many_may_be_asked_for(body: str, name: str) -> None:
    wanted = SCHEMA["components"]["schemas"][body]["properties"][name]["anyOf"]
    assert wanted == [{"maximum": MOST_CHOICES, "minimum": 1, "type": "integer"}, {"type": "null"}]


@pytest.mark.parametrize(
    ("said", "rows"),
    [
        ({}, 1),
        ({"n": 8}, 1),
        ({"n": 8, "temperature": 0}, 1),
        ({"n": 8, "temperature": 0.7}, 8),
        ({"n": 8, "do_sample": True}, 8),
        ({"temperature": 0.7}, 1),
    ],
)
def test_answers_that_can_only_be_the_same_take_one_row(said: dict[str, Any], rows: int) -> None:
    assert Parameters(**said).rows(model_default=False) == rows


def test_a_model_that_draws_by_itself_takes_a_row_for_each_answer() -> None:
    assert Parameters(n=3).rows(model_default=True) == 3

from typing import Any

import pytest

from api.dialects.hf.task_answers import last_chunk, to_answer, token_chunk
from api.dialects.hf.task_requests import from_hf, from_picture
from shared.result import Candidate, Choice, Origin, TokenLogprob
from tests.support.views import answered, succeeded

PY = "unknown/None; hf_hub/2.4.0; python/3.11"
URL = "https://example.org/a.png"


@pytest.mark.parametrize("version", ["4.13.30", "4.13.15"])
def test_caption_of_bytes_is_an_object_for_huggingface_js(version: str) -> None:
    answer = to_answer(succeeded(), from_picture(b"bytes"), f"@huggingface/inference/{version} Node.js/22")
    assert answer == {"generated_text": "A red square."}


@pytest.mark.parametrize("agent", ["@huggingface/inference/4.13.14 Node.js/22", "node", PY, None])
def test_caption_of_bytes_reaches_older_ones_and_others_as_the_first_of_a_list(agent: str | None) -> None:
    assert to_answer(succeeded(), from_picture(b"bytes"), agent) == [{"generated_text": "A red square."}]


def test_full_text_adds_the_question_without_its_pictures() -> None:
    turns = [
        {"role": "user", "content": [{"type": "image", "url": URL}, {"type": "text", "text": "What?"}]},
        {"role": "assistant", "content": "It is"},
    ]
    call = from_hf({"inputs": turns, "parameters": {"return_full_text": True}})
    assert to_answer(succeeded(), call, PY) == [
        {"input_text": "What?\nIt is", "generated_text": "A red square."}
    ]


@pytest.mark.parametrize("inputs", ["Once ", {"text": "Once "}, {"text": "Once ", "image": URL}])
def test_full_text_begins_with_the_prompt_for_clients_that_return_it_alone(inputs: Any) -> None:
    call = from_hf({"inputs": inputs, "parameters": {"return_full_text": True, "details": True}})
    answers: Any = to_answer(succeeded(), call, PY)
    [answer] = answers
    assert answer["generated_text"] == last_chunk(succeeded(), 3, call)["generated_text"]
    assert answer["generated_text"] == "Once A red square."


def question(**parameters: Any) -> Any:
    return from_hf({"inputs": {"question": "?", "image": URL}, "parameters": parameters})


def test_question_is_answered_with_a_score_also_where_the_engine_has_none() -> None:
    assert to_answer(succeeded(), question(), PY) == [{"answer": "A red square.", "score": 0.75}]
    assert to_answer(succeeded(score=None), question(), PY) == [{"answer": "A red square.", "score": 0.0}]


def test_question_gets_at_most_as_many_answers_as_asked() -> None:
    choices = tuple(Choice(text=t, finish_reason="stop", score=0.5) for t in "abc")
    answers = to_answer(answered(choices=choices), question(top_k=2), PY)
    assert answers == [{"answer": "a", "score": 0.5}, {"answer": "b", "score": 0.5}]


TOLD = (TokenLogprob(0, Candidate("A", -0.5), ()), TokenLogprob(1, Candidate("<b>", -1.0, bytes=()), ()))


def detailed(*, stream: bool = False, seed: int | None = 7, drawn: int | None = None, **choice: Any) -> Any:
    """The details of an answer that ended as its choice says."""
    call = from_hf({"inputs": "Hi", "parameters": {"details": True, "seed": seed}, "stream": stream})
    origin = Origin(made_of={}, parameters={} if drawn is None else {"seed": drawn})
    view = answered(choice={"logprobs": TOLD, **choice}, origin=origin)
    whole: Any = to_answer(view, call, PY, [5])
    return last_chunk(view, 3, call)["details"] if stream else whole[0]["details"]


def test_the_pieces_of_a_stream_with_details_tell_how_probable_they_were() -> None:
    """Typed readers want numbers there. Of several tokens it is the piece's as a whole."""
    logprobs = [[0, ["A", -0.5], []], [1, [" red", -0.25], []]]
    data = {"start": 0, "text": "A red", "ids": [5, 6], "logprobs": logprobs}
    call = from_hf({"inputs": "Hi", "parameters": {"details": True}, "stream": True})
    last = last_chunk(succeeded(), 3, call)
    chunks = [token_chunk(data, 1), token_chunk({**data, "logprobs": []}, 2), last]
    assert call.request.parameters.logprobs == 0
    assert [chunk["token"]["logprob"] for chunk in chunks] == [-0.75, 0.0, 0.0]


@pytest.mark.parametrize(("asked", "drawn", "told"), [(None, 99, 99), (7, 7, 7), (None, None, None)])
@pytest.mark.parametrize("stream", [False, True])
def test_details_tell_the_seed_that_draws_the_same_answer_again(
    stream: bool, asked: int | None, drawn: int | None, told: int | None
) -> None:
    assert detailed(stream=stream, seed=asked, drawn=drawn)["seed"] == told


def test_details_tell_every_token_of_the_text_and_in_a_stream_the_prompt_s_count() -> None:
    ended = {"finish_reason": "eos_token", "generated_tokens": 5, "seed": 7}
    assert detailed(stream=True) == ended | {"input_length": 70}
    assert detailed() == ended | {
        "prefill": [],
        "tokens": [
            {"id": 5, "text": "A", "logprob": -0.5, "special": False},
            {"id": None, "text": "<b>", "logprob": -1.0, "special": True},
        ],
    }


@pytest.mark.parametrize("stream", [False, True])
def test_details_tell_what_ended_an_answer(stream: bool) -> None:
    assert detailed(stream=stream, cut=True)["finish_reason"] == "stop_sequence"
    assert detailed(stream=stream, finish_reason="length")["finish_reason"] == "length"

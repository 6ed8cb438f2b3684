"""Several answers to one question: asked for by every route, each with dice and a price of its own."""

from typing import Any

import pytest

from api.dialects.hf.task_requests import from_hf
from shared.models import Model
from shared.request import MOST_CHOICES, Image, Message, Parameters, Request, Text
from shared.tokens import cost
from tests.support.refusal import refusal
from tests.support.routes import Read, chat, hf, job, nested

SEVERAL = {"num_return_sequences": 2}
READS = [
    (chat, "n", "n"),
    (job, "n", "parameters.n"),
    (hf, "num_return_sequences", "parameters.num_return_sequences"),
    (nested, "num_return_sequences", "parameters.generate_kwargs.num_return_sequences"),
]


@pytest.mark.parametrize(("read", "name", "param"), READS)
def test_several_answers_are_asked_for_by_every_route(read: Read, name: str, param: str) -> None:
    assert read(**{name: 3}).parameters == Parameters(n=3)
    assert read(**{name: 1}) == read() == read(**{name: None}), "one answer is what everybody gets"
    for count in (0, MOST_CHOICES + 1):
        assert refusal(read, **{name: count}) == ("invalid_request", param)


@pytest.mark.parametrize("said", [SEVERAL, {"generate_kwargs": SEVERAL}])
def test_a_stream_that_has_no_place_for_several_answers_is_refused(said: Any) -> None:
    code, param = refusal(from_hf, {"inputs": "Hi", "parameters": said, "stream": True})
    assert (code, str(param).endswith("num_return_sequences")) == ("unsupported_parameter", True)


def test_the_first_answer_is_the_one_that_who_asks_for_one_would_get() -> None:
    asked = Parameters(seed=7, temperature=1.0, n=3)
    seeds = [asked.of_choice(number).seed for number in range(3)]
    assert seeds[0] == 7
    assert len(set(seeds)) == 3
    assert seeds == [asked.of_choice(number).seed for number in range(3)], "a seed repeats all of them"
    assert not set(seeds[1:]) & {Parameters(seed=8, n=3).of_choice(number).seed for number in range(3)}

    assert Parameters(temperature=1.0, n=2).of_choice(1).seed is None, "without one each has its own dice"


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

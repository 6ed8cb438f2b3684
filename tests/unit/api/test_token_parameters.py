"""Parameters that name tokens, and least answers, under every route's spelling."""

from collections.abc import Callable
from typing import Any

import pytest

from api.dialects.native.job_requests import from_job
from api.dialects.openai.chat import from_chat
from api.dialects.openai.responses import from_response
from api.dialects.unknown_fields import SPELLINGS
from shared.errors import CallerError
from shared.request import Parameters
from tests.support.refusal import refusal
from tests.support.routes import ALL, OPENAI, Read, chat, hf, job


@pytest.mark.parametrize(
    ("read", "name"),
    [*((read, "min_tokens") for read in OPENAI), (job, "min_new_tokens"), (hf, "min_new_tokens")],
)
def test_a_least_answer_is_read_and_may_not_be_longer_than_the_longest(read: Read, name: str) -> None:
    most = "max_new_tokens" if read is hf else "max_tokens"
    request = read(**{name: 5, most: 5})
    assert request.parameters == Parameters(min_new_tokens=5, max_new_tokens=5)
    refused = "invalid_request", request.named.get("min_new_tokens", "min_new_tokens")
    assert refusal(read, **{name: 6, most: 5}) == refused


@pytest.mark.parametrize(
    ("reads", "name", "taken", "wrong"),
    [
        (ALL, "min_p", 0.25, [1.5]),
        ([chat, job, hf], "typical_p", 0.95, [0, 1.5]),
        # A model's own file may forbid some loops: 0 allows them.
        (ALL, "no_repeat_ngram_size", 0, [257]),
        (ALL, "no_repeat_ngram_size", 3, [-1]),
    ],
)
def test_every_route_that_has_it_reads_it(
    reads: list[Read], name: str, taken: float, wrong: list[float]
) -> None:
    for read in reads:
        assert read(**{name: taken}).parameters == Parameters.model_validate({name: taken})
        for value in wrong:
            code, param = refusal(read, **{name: value})
            assert (code, str(param).endswith(name)) == ("invalid_request", True)


@pytest.mark.parametrize(
    ("reads", "said", "same"),
    [
        (ALL, {"top_k": -1}, {"top_k": 0}),
        (OPENAI, {"ignore_eos": False}, {}),
        (OPENAI, {"skip_special_tokens": True}, {}),
        (OPENAI, {"logit_bias": {}}, {}),
        (OPENAI, {"logit_bias": []}, {}),
        (OPENAI, {"logit_bias": {"5": -0.0}}, {}),
        (OPENAI, {"stop_token_ids": []}, {}),
        (OPENAI, {"stop_token_ids": [9, 5, 9]}, {"stop_token_ids": [5, 9]}),
    ],
)
def test_another_spelling_asks_the_same(reads: list[Read], said: Any, same: Any) -> None:
    assert [read(**said).parameters for read in reads] == [read(**same).parameters for read in reads]


@pytest.mark.parametrize("read", OPENAI)
@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        ({"ignore_eos": True}, {"ignore_eos": True}),
        ({"skip_special_tokens": False}, {"skip_special_tokens": False}),
        ({"stop_token_ids": [5, 9]}, {"stop_token_ids": (5, 9)}),
        ({"logit_bias": {"1523": -100, "7": 2.5, "8": 0}}, {"logit_bias": ((7, 2.5), (1523, -100.0))}),
    ],
)
def test_what_names_tokens_is_read_by_vllm_s_names(read: Read, said: Any, wanted: Any) -> None:
    assert read(**said).parameters == Parameters(**wanted)


def test_what_mineru_s_client_sends_is_read() -> None:
    options = {"no_repeat_ngram_size": 100, "debug": True}
    sent = {"skip_special_tokens": False, "repetition_penalty": 1.0, "top_k": 1, "vllm_xargs": options}
    assert chat(**sent).parameters == Parameters(
        no_repeat_ngram_size=100, skip_special_tokens=False, repetition_penalty=1.0, top_k=1
    )
    assert chat(vllm_xargs={"ngram_size": 30}).parameters == Parameters()
    with pytest.raises(CallerError, match="contradicts"):
        chat(vllm_xargs=options, no_repeat_ngram_size=3)


@pytest.mark.parametrize("read", OPENAI)
@pytest.mark.parametrize(
    ("said", "at"),
    [
        *(({"logit_bias": {token: 1}}, f"logit_bias.{token}") for token in ("-1", "05", "red")),
        ({"logit_bias": {"5": "much"}}, "logit_bias.5"),
        ({"logit_bias": {"5": 101}}, "logit_bias"),
        ({"logit_bias": {"5": -100.5}}, "logit_bias"),
        ({"logit_bias": {str(n): 1 for n in range(301)}}, "logit_bias"),
        ({"logit_bias": {str(2**31): 1}}, "logit_bias"),
        *(({"stop_token_ids": wrong}, "stop_token_ids") for wrong in ([-1], [2**31], list(range(65)))),
        ({"top_k": -2}, "top_k"),
    ],
)
def test_a_wrong_token_is_refused_by_name(read: Read, said: dict[str, Any], at: str) -> None:
    code, param = refusal(read, **said)
    assert code == "invalid_request"
    assert str(param).startswith(("parameters." if read is job else "") + at)


@pytest.mark.parametrize("read", [chat, job])
@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        ({"logprobs": True}, 0),
        ({"logprobs": True, "top_logprobs": 0}, 0),
        ({"logprobs": True, "top_logprobs": 20}, 20),
        ({"logprobs": False, "top_logprobs": 0}, None),
        ({}, None),
    ],
)
def test_logprobs_of_a_chat_and_of_a_job(read: Read, said: dict[str, Any], wanted: int | None) -> None:
    assert read(**said).parameters == Parameters(logprobs=wanted)


@pytest.mark.parametrize("read", [chat, job])
@pytest.mark.parametrize(
    "said",
    [{"top_logprobs": 2}, {"logprobs": False, "top_logprobs": 2}, {"logprobs": True, "top_logprobs": 21}],
)
def test_alternatives_without_logprobs_or_too_many_are_refused(read: Read, said: dict[str, Any]) -> None:
    at = "parameters." if read is job else ""
    assert refusal(read, **said) == ("invalid_request", f"{at}top_logprobs")


BODIES: dict[str, tuple[Callable[[Any], Any], dict[str, Any]]] = {
    "chat": (from_chat, {"messages": [{"role": "user", "content": "Hi"}]}),
    "responses": (from_response, {"input": "Hi"}),
    "jobs": (from_job, {"input": {"prompt": "Hi"}}),
}
CONSTRAINTS = ("chat_template", "documents", "allowed_token_ids", "regex", "repeat_penalty", "extra_body")


@pytest.mark.parametrize("field", [*SPELLINGS, *CONSTRAINTS])
@pytest.mark.parametrize("route", BODIES)
def test_what_changes_an_answer_on_another_route_is_nowhere_a_hint(route: str, field: str) -> None:
    read, body = BODIES[route]
    assert refusal(read, {**body, field: [[1]]})

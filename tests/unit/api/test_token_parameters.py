"""Parameters that name tokens, and least answers, under every route's spelling."""

from collections.abc import Callable
from typing import Any

import pytest

from api.dialects.hf.task_requests import from_hf
from api.dialects.native.job_requests import from_job
from api.dialects.openai.chat import from_chat
from api.dialects.openai.completions import from_completion
from api.dialects.openai.responses import from_response
from api.dialects.unknown_fields import SPELLINGS
from shared.errors import CallerError
from shared.request import Parameters, Request

Read = Callable[..., Request]


def chat(**said: Any) -> Request:
    return from_chat({"messages": [{"role": "user", "content": "Hi"}], **said}).request


def text(**said: Any) -> Request:
    return from_completion({"prompt": "Hi", **said}).request


def job(**said: Any) -> Request:
    return from_job({"input": {"prompt": "Hi"}, "parameters": said}).request


def hf(**said: Any) -> Request:
    return from_hf({"inputs": "Hi", "parameters": said}).request


OPENAI, ALL = [chat, text, job], [chat, text, job, hf]


@pytest.mark.parametrize(
    ("read", "name"),
    [
        (chat, "min_tokens"),
        (text, "min_tokens"),
        (job, "min_tokens"),
        (job, "min_new_tokens"),
        (hf, "min_new_tokens"),
    ],
)
def test_a_least_answer_is_read_and_may_not_be_longer_than_the_longest(read: Read, name: str) -> None:
    most = "max_new_tokens" if read is hf else "max_tokens"
    request = read(**{name: 5, most: 5})
    assert request.parameters == Parameters(min_new_tokens=5, max_new_tokens=5)
    with pytest.raises(CallerError, match=most) as refused:
        read(**{name: 6, most: 5})
    assert refused.value.code == "invalid_request"
    assert refused.value.param == request.named.get("min_new_tokens", "min_new_tokens")


@pytest.mark.parametrize("read", ALL)
def test_min_p_is_read_by_every_route(read: Read) -> None:
    assert read(min_p=0.25).parameters == Parameters(min_p=0.25)
    with pytest.raises(CallerError) as refused:
        read(min_p=1.5)
    assert (refused.value.code, (refused.value.param or "")[-5:]) == ("invalid_request", "min_p")


@pytest.mark.parametrize("read", [text, job, hf])
def test_typical_p_is_read_where_hugging_face_s_clients_send_it(read: Read) -> None:
    assert read(typical_p=0.95).parameters == Parameters(typical_p=0.95)
    for wrong in (0, 1.5):
        with pytest.raises(CallerError) as refused:
            read(typical_p=wrong)
        assert (refused.value.code, (refused.value.param or "")[-9:]) == ("invalid_request", "typical_p")


@pytest.mark.parametrize("read", ALL)
def test_a_loop_of_tokens_can_be_forbidden_on_every_route(read: Read) -> None:
    assert read(no_repeat_ngram_size=3).parameters == Parameters(no_repeat_ngram_size=3)
    # A model's own file may forbid some.
    assert read(no_repeat_ngram_size=0).parameters == Parameters(no_repeat_ngram_size=0)
    with pytest.raises(CallerError, match="no_repeat_ngram_size"):
        read(no_repeat_ngram_size=257)


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
def test_a_logit_bias_is_read_by_token(read: Read) -> None:
    given = {"1523": -100, "7": 2.5, "8": 0}
    assert read(logit_bias=given).parameters == Parameters(logit_bias=((7, 2.5), (1523, -100.0)))


@pytest.mark.parametrize("read", OPENAI)
@pytest.mark.parametrize(
    "nothing", [{"logit_bias": {}}, {"logit_bias": []}, {"logit_bias": {"5": -0.0}}, {"stop_token_ids": []}]
)
def test_what_asks_for_nothing_is_left_out(read: Read, nothing: dict[str, Any]) -> None:
    assert read(**nothing).parameters == Parameters()


@pytest.mark.parametrize("read", OPENAI)
@pytest.mark.parametrize(
    ("given", "code", "param"),
    [
        ([1.0], "unsupported_parameter", "logit_bias"),
        ({"5": 101}, "invalid_request", "logit_bias"),
        ({"5": -100.5}, "invalid_request", "logit_bias"),
        ({str(n): 1 for n in range(301)}, "invalid_request", "logit_bias"),
        ({str(2**31): 1}, "invalid_request", "logit_bias"),
        ({"5": "much"}, "invalid_request", "logit_bias.5"),
        ({"-1": 1}, "invalid_request", "logit_bias.-1"),
        ({"05": 1}, "invalid_request", "logit_bias.05"),
        ({"red": 1}, "invalid_request", "logit_bias.red"),
    ],
)
def test_a_wrong_logit_bias_is_refused_by_name(read: Read, given: Any, code: str, param: str) -> None:
    with pytest.raises(CallerError) as refused:
        read(logit_bias=given)
    at = "parameters." if read is job else ""
    assert (refused.value.code, refused.value.param) == (code, at + param)


@pytest.mark.parametrize("read", OPENAI)
def test_stop_tokens_are_read_in_any_order(read: Read) -> None:
    assert read(stop_token_ids=[9, 5, 9]).parameters == Parameters(stop_token_ids=(5, 9))
    for wrong in ([-1], [2**31], list(range(65))):
        with pytest.raises(CallerError) as refused:
            read(stop_token_ids=wrong)
        assert refused.value.code == "invalid_request"


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
    with pytest.raises(CallerError) as refused:
        read(**said)
    at = "parameters." if read is job else ""
    assert (refused.value.code, refused.value.param) == ("invalid_request", f"{at}top_logprobs")


@pytest.mark.parametrize("wanted", [0, 5, None])
def test_logprobs_of_a_text_completion_are_a_number(wanted: int | None) -> None:
    assert text(logprobs=wanted).parameters == Parameters(logprobs=wanted)


@pytest.mark.parametrize("read", ALL)
def test_vllm_s_word_for_all_tokens_is_read_on_every_route(read: Read) -> None:
    assert read(top_k=-1) == read(top_k=0)
    with pytest.raises(CallerError, match="top_k"):
        read(top_k=-2)


@pytest.mark.parametrize("read", OPENAI)
def test_an_answer_that_shall_not_end_is_asked_for_by_vllm_s_name(read: Read) -> None:
    assert read(ignore_eos=True).parameters == Parameters(ignore_eos=True)
    assert read(ignore_eos=False) == read()


@pytest.mark.parametrize("read", OPENAI)
def test_who_parses_pages_of_documents_gets_their_marks_by_vllm_s_name(read: Read) -> None:
    assert read(skip_special_tokens=False).parameters == Parameters(skip_special_tokens=False)
    assert read(skip_special_tokens=True) == read()


BODIES: dict[str, tuple[Callable[[Any], Any], dict[str, Any]]] = {
    "chat": (from_chat, {"messages": [{"role": "user", "content": "Hi"}]}),
    "completions": (from_completion, {"prompt": "Hi"}),
    "responses": (from_response, {"input": "Hi"}),
    "jobs": (from_job, {"input": {"prompt": "Hi"}}),
}
CONSTRAINTS = ("chat_template", "documents", "allowed_token_ids", "regex", "repeat_penalty", "extra_body")


@pytest.mark.parametrize("field", [*SPELLINGS, *CONSTRAINTS])
@pytest.mark.parametrize("route", BODIES)
def test_what_changes_an_answer_on_another_route_is_nowhere_a_hint(route: str, field: str) -> None:
    read, body = BODIES[route]
    with pytest.raises(CallerError):
        read({**body, field: [[1]]})

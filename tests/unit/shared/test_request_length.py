from typing import Any

import pytest

from api.admission.checks import check_end
from shared.errors import CallerError
from shared.request import Format, Function, Message, Parameters, Request, Text, Tools
from shared.request_length import check_text, fit_answer
from tests.support.refusal import refusal
from worker.engines.prompt.budget import answer_budget


def request(*texts: str, **fields: object) -> Request:
    messages = tuple(Message(role="user", parts=(Text(text=text),)) for text in texts)
    return Request(model="m", messages=messages, **fields)


@pytest.mark.parametrize("texts", [("a" * 1024,), ("é" * 256, "b" * 512), ("\N{BALLOON}" * 256,)])
def test_texts_are_measured_together_in_bytes(texts: tuple[str, ...]) -> None:
    check_text(request(*texts), 1)
    with pytest.raises(CallerError, match="1 KiB") as refused:
        check_text(request(*texts, "x", named={"messages": "prompt"}), 1)
    assert (refused.value.code, refused.value.param) == ("context_length_exceeded", "prompt")


@pytest.mark.parametrize(
    ("wanted", "context", "kept"),
    [(None, 10, None), (9, 10, 9), (10, 10, 9), (2**31 - 1, 10, 9), (10**9, None, 10**9)],
)
def test_an_answer_longer_than_the_context_is_shortened(wanted: Any, context: Any, kept: Any) -> None:
    asked = request("x", parameters=Parameters(max_new_tokens=wanted))
    assert fit_answer(asked, context).parameters.max_new_tokens == kept


@pytest.mark.parametrize(
    ("prompt", "wanted"), [(10, {}), (10, {"max_new_tokens": 5}), (6, {"min_new_tokens": 5})]
)
def test_litellm_and_langchain_know_that_a_prompt_is_too_long(prompt: int, wanted: dict[str, int]) -> None:
    with pytest.raises(CallerError, match=r"^This model's maximum context length is 10 tokens") as refused:
        answer_budget(Parameters(**wanted), default=512, prompt_tokens=prompt, context_length=10)
    for words in ("prompt is too long", "length limit exceeded"):
        assert words in refused.value.message


def test_they_know_from_its_words_that_no_model_is_sent_so_long_a_text_or_answer() -> None:
    asked = request("x", parameters=Parameters(min_new_tokens=10), named={"min_new_tokens": "min_tokens"})
    assert refusal(fit_answer, asked, 10) == ("context_length_exceeded", "min_tokens")
    with pytest.raises(CallerError, match=r"^This model's maximum context length is 10 tokens .*; .* Lower"):
        fit_answer(asked, 10)
    with pytest.raises(CallerError) as refused:
        check_text(request("x" * 1025), 1)
    # LiteLLM's own and its behind huggingface/.
    langchain = ("prompt is too long", "maximum context length")
    for words in (*langchain, "exceeds the available context size", "length limit exceeded"):
        assert words in refused.value.message


def test_an_answer_of_a_form_cannot_be_told_not_to_end() -> None:
    wanted = Format(kind="regex", content="a")
    for said in ({"ignore_eos": True}, {"format": wanted}, {"no_repeat_ngram_size": 3}):
        check_end(request("x", parameters=Parameters.model_validate(said)))
    with pytest.raises(CallerError, match="leave `no_repeat_ngram_size` out"):
        check_end(request("x", parameters=Parameters(no_repeat_ngram_size=3, format=wanted)))
    endless = Parameters(ignore_eos=True, format=wanted)
    asked = request("x", parameters=endless, named={"ignore_eos": "said.ignore_eos"})
    assert refusal(check_end, asked) == ("invalid_request", "said.ignore_eos")


def test_special_tokens_are_not_asked_for_where_calls_are_read_from_the_text() -> None:
    asked = Parameters(skip_special_tokens=False)
    check_end(request("x", parameters=asked))
    calling = request("x", parameters=asked, tools=Tools(functions=(Function(name="f", parameters="{}"),)))
    assert refusal(check_end, calling) == ("invalid_request", "skip_special_tokens")

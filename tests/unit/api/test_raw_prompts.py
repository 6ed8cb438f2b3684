"""A prompt that skips the chat template is one request through all doors, and never asked for in vain."""

from typing import Any

import pytest

from api.dialects.hf.task_requests import from_hf
from api.dialects.native.job_requests import from_job
from api.dialects.openai.completions import from_completion
from shared.request import Request
from tests.support.refusal import refusal
from tests.support.tools import WEATHER

URL = "https://example.org/a.png"
RAW = {"raw": True}


def _prompt(request: Request) -> tuple[bool, list[dict[str, Any]]]:
    return request.raw, [part.model_dump() for message in request.messages for part in message.parts]


def test_all_doors_make_one_request_of_it() -> None:
    doors = [
        from_hf({"inputs": "Once", "parameters": RAW}).request,
        from_hf({"inputs": {"text": "Once"}, "parameters": RAW}).request,
        from_completion({"prompt": "Once", "raw": True}).request,
        from_job({"input": {"prompt": "Once"}, "parameters": RAW}).request,
    ]
    assert [_prompt(one) for one in doors] == [(True, [{"type": "text", "text": "Once"}])] * len(doors)
    with_pictures = [
        from_hf({"inputs": {"image": URL, "text": "Once"}, "parameters": RAW}).request,
        from_job({"input": {"prompt": "Once", "image": URL}, "parameters": RAW}).request,
    ]
    assert _prompt(with_pictures[0]) == _prompt(with_pictures[1])


@pytest.mark.parametrize("raw", [None, False])
def test_without_it_the_template_is_used(raw: bool | None) -> None:
    assert not from_hf({"inputs": "Once", "parameters": {"raw": raw}}).request.raw
    assert not from_completion({"prompt": "Once", "raw": raw}).request.raw


TURN = {"role": "user", "content": "Once"}


@pytest.mark.parametrize(
    "inputs",
    [[TURN], {"text": [TURN]}, {"image": URL}, {"image": URL, "question": "What?"}],
    ids=["a chat", "a chat with pictures", "a caption", "a question"],
)
def test_what_is_no_text_cannot_be_raw(inputs: Any) -> None:
    assert refusal(from_hf, {"inputs": inputs, "parameters": RAW}) == ("invalid_request", "parameters.raw")


@pytest.mark.parametrize(
    "body",
    [{"messages": [TURN]}, {"input": {"prompt": "Once"}, "tools": [WEATHER]}],
    ids=["a chat", "functions"],
)
def test_a_job_of_turns_or_functions_cannot_be_raw(body: dict[str, Any]) -> None:
    assert refusal(from_job, {**body, "parameters": RAW}) == ("invalid_request", "parameters.raw")

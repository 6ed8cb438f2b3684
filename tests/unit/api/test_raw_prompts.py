"""A prompt that skips the chat template is one request through all doors, and never asked for in vain."""

from typing import Any

import pytest

from api.dialects.hf.task_requests import from_hf
from api.dialects.native.job_requests import from_job
from api.dialects.openai.completions import from_completion
from shared.request import Text
from tests.support.refusal import refusal
from tests.support.tools import WEATHER

URL = "https://example.org/a.png"
RAW = {"raw": True}


TURN = {"role": "user", "content": "Once"}


@pytest.mark.parametrize(
    ("read", "body"),
    [
        (from_hf, {"inputs": "Once", "parameters": RAW}),
        (from_hf, {"inputs": {"text": "Once"}, "parameters": RAW}),
        (from_completion, {"prompt": "Once", "raw": True}),
        (from_job, {"input": {"prompt": "Once"}, "parameters": RAW}),
        (from_hf, {"inputs": {"image": URL, "text": "Once"}, "parameters": RAW}),
        (from_job, {"input": {"prompt": "Once", "image": URL}, "parameters": RAW}),
    ],
)
def test_all_doors_make_one_request_of_it(read: Any, body: Any) -> None:
    request = read(body).request
    assert (request.raw, request.messages[0].parts[-1], len(request.messages)) == (True, Text(text="Once"), 1)
    assert [shown.url for shown in request.images] == [URL] * ("image" in str(body))


@pytest.mark.parametrize("raw", [None, False])
def test_without_it_the_template_is_used(raw: bool | None) -> None:
    assert not from_hf({"inputs": "Once", "parameters": {"raw": raw}}).request.raw
    assert not from_completion({"prompt": "Once", "raw": raw}).request.raw


@pytest.mark.parametrize(
    ("read", "body"),
    [
        (from_hf, {"inputs": [TURN]}),
        (from_hf, {"inputs": {"text": [TURN]}}),
        (from_hf, {"inputs": {"image": URL}}),
        (from_hf, {"inputs": {"image": URL, "question": "What?"}}),
        (from_job, {"messages": [TURN]}),
        (from_job, {"input": {"prompt": "Once"}, "tools": [WEATHER]}),
    ],
)
def test_what_is_no_text_cannot_be_raw(read: Any, body: Any) -> None:
    assert refusal(read, body | {"parameters": RAW}) == ("invalid_request", "parameters.raw")

"""What transformers' guide to image-text-to-text models asks of a pipeline, asked over the wire."""

import base64
from typing import Any

import pytest
import transformers

from tests.e2e.conftest import TINY
from tests.support.clients import Api
from tests.support.service import ROOT

FILE = ROOT / "examples/sample.png"
DATA = f"data:image/png;base64,{base64.b64encode(FILE.read_bytes()).decode()}"
SHOWN = {"type": "image", "image": DATA}


def said(text: str, *pictures: dict[str, str], role: str = "user") -> dict[str, Any]:
    return {"role": role, "content": [*pictures, {"type": "text", "text": text}]}


QUESTION = [said("What color is the circle?", SHOWN)]
TURNS = [*QUESTION, said("Red.", role="assistant"), said("What color is the square?", SHOWN)]
BEGUN = [*QUESTION, said("The circle is", role="assistant")]
LENGTH = {"max_new_tokens": 20}


@pytest.fixture(scope="module")
def pipe() -> Any:
    build: Any = transformers.pipeline
    return build("image-text-to-text", model=str(ROOT / "models/tiny"), dtype="float32")


@pytest.mark.parametrize("messages", [QUESTION, TURNS, BEGUN], ids=["question", "turns", "begun"])
def test_the_model_route_says_what_the_pipeline_says(
    api: Api, pipe: Any, messages: list[dict[str, Any]]
) -> None:
    [wanted] = pipe(text=messages, return_full_text=False, **LENGTH)
    whole = api.post(f"/models/{TINY}", json={"inputs": messages, "parameters": LENGTH})
    assert whole.json() == [{"generated_text": wanted["generated_text"]}]

"""What transformers' guide to image-text-to-text models asks of a pipeline, asked over the wire."""

import base64
import json
from typing import Any

import pytest
import transformers
from PIL import Image

from tests.e2e.conftest import TINY
from tests.support.clients import Api
from tests.support.service import ROOT

FILE = ROOT / "examples/sample.png"
DATA = f"data:image/png;base64,{base64.b64encode(FILE.read_bytes()).decode()}"
SHOWN, SLOT = {"type": "image", "image": DATA}, {"type": "image"}


def said(text: str, *pictures: dict[str, str], role: str = "user") -> dict[str, Any]:
    return {"role": role, "content": [*pictures, {"type": "text", "text": text}]}


QUESTION = [said("What color is the circle?", SHOWN)]
TURNS = [*QUESTION, said("Red.", role="assistant"), said("What color is the square?", SHOWN)]
BEGUN = [*QUESTION, said("The circle is", role="assistant")]
CHATS = pytest.mark.parametrize("messages", [QUESTION, TURNS, BEGUN], ids=["question", "turns", "begun"])
LENGTH = {"max_new_tokens": 20}


@pytest.fixture(scope="module")
def pipe() -> Any:
    build: Any = transformers.pipeline
    return build("image-text-to-text", model=str(ROOT / "models/tiny"), dtype="float32")


@CHATS
def test_the_model_route_says_what_the_pipeline_says(
    api: Api, pipe: Any, messages: list[dict[str, Any]]
) -> None:
    [wanted] = pipe(text=messages, return_full_text=False, **LENGTH)
    whole = api.post(f"/models/{TINY}", json={"inputs": messages, "parameters": LENGTH})
    assert whole.json() == [{"generated_text": wanted["generated_text"]}]


def test_a_stream_of_the_model_route_says_it_in_pieces(api: Api, pipe: Any) -> None:
    [wanted] = pipe(text=TURNS, return_full_text=False, **LENGTH)
    body = {"inputs": TURNS, "parameters": {**LENGTH, "do_sample": False}, "stream": True}
    lines = api.post(f"/models/{TINY}", json=body).text.splitlines()
    chunks = [json.loads(line.removeprefix("data:")) for line in lines if line.startswith("data:")]
    assert "".join(chunk["token"]["text"] for chunk in chunks) == wanted["generated_text"] != ""


def test_pictures_beside_the_messages_are_those_inside_them(api: Api) -> None:
    messages = [said("What color is the circle?", SLOT), *TURNS[1:2], said("What color is the square?", SLOT)]
    inputs = {"text": messages, "images": [DATA, DATA]}
    answers = [
        api.post(f"/models/{TINY}", json={"inputs": each, "parameters": LENGTH}) for each in (inputs, TURNS)
    ]
    assert answers[0].json() == answers[1].json()
    assert answers[1].headers["x-cache"] == "HIT", "it is one request"


def test_a_bare_prompt_comes_back_with_its_answer_as_from_the_pipeline(api: Api, pipe: Any) -> None:
    text = "<image>The circle is"
    with Image.open(FILE) as picture:
        wanted = pipe(text=text, images=[picture], **LENGTH)
    parameters = {**LENGTH, "raw": True, "return_full_text": True}
    answer = api.post(
        f"/models/{TINY}", json={"inputs": {"text": text, "image": DATA}, "parameters": parameters}
    )
    assert answer.json() == wanted


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("num_beams", 4, "unsupported_parameter"),
        ("penalty_alpha", 0.5, "unsupported_parameter"),
        ("suppress_tokens", [5], "unsupported_parameter"),
    ],
)
def test_what_a_request_cannot_say_is_refused_by_name(api: Api, name: str, value: Any, code: str) -> None:
    refused = api.post(f"/models/{TINY}", json={"inputs": QUESTION, "parameters": {name: value}})
    assert (refused.status_code, refused.json()["error_type"]) == (400, code)
    assert name in refused.json()["error"]


@pytest.mark.parametrize(
    ("key", "code"),
    [("image", "invalid_image_url"), ("url", "invalid_image_url"), ("path", "unsupported_parameter")],
)
def test_a_local_path_is_refused(api: Api, key: str, code: str) -> None:
    body = {"inputs": [said("What color is the circle?", {"type": "image", key: str(FILE)})]}
    refused = api.post(f"/models/{TINY}", json=body)
    assert (refused.status_code, refused.json()["error_type"]) == (400, code)

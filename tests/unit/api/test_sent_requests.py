"""What clients really send, as tests/contract recorded it, is read as the one question that was meant."""

import json
from base64 import b64decode
from typing import Any

import pytest
from pydantic_core import from_json

from api.dialects.hf.task_requests import from_bytes, from_hf
from api.dialects.openai.chat import from_chat
from api.dialects.openai.responses import from_response
from shared.request import Format, Function, Image, Message, Parameters, Request, Text, ToolCall, Tools
from tests.support.golden import DATA
from tests.support.pictures import picture
from tests.support.tools import WEATHER

SENT = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(DATA.glob("sent/*.json"))}
OPENAI = ("openai_python", "openai_js")
HUGGING_FACE = ("hf_python", "hf_js")
EVERYBODY = (*OPENAI, "ai_sdk", *HUGGING_FACE)
MODEL = "sightline/tiny"
ASK = Text(text="What is this?")
BRIEF = Message(role="system", parts=(Text(text="Be brief."),))
PICTURE = picture(size=(2, 1))
SHOWN = Message(role="user", parts=(Image(data=PICTURE), ASK))
DRAWN = Parameters(max_new_tokens=16, temperature=0.5, top_p=0.9, seed=7, stop=("END",))
PARAMETERS = json.dumps(WEATHER["function"]["parameters"], separators=(",", ":"))
FUNCTIONS = (
    Function(name="weather", description="The weather of a city.", parameters=PARAMETERS),
    Function(name="clock", parameters='{"type":"object","properties":{}}'),
)
CALL = ToolCall(id="call_1", name="clock", arguments="{}")
CALLED = Message(role="assistant", parts=(Text(text="A look at the clock."),), calls=(CALL,))
GIVEN = Message(role="tool", parts=(Text(text="Noon."),), answers="call_1")


def meant(request: Request) -> tuple[dict[str, Any], list[bytes | None]]:
    """What is computed, whatever wire it came by: without the model, which may stand in the path."""
    return request.model_dump(mode="json", exclude={"model"}), [picture.data for picture in request.images]


SPOKEN = Message(role="user", parts=(ASK,))


@pytest.mark.parametrize("client", EVERYBODY)
def test_a_chat_with_a_picture_and_a_call_streamed_and_parsed(client: str) -> None:
    tools = Tools(functions=FUNCTIONS)
    turns = (BRIEF, SHOWN, CALLED, GIVEN)
    whole, streamed, parsed = (from_chat(SENT[client][number]) for number in range(3))
    assert meant(whole.request) == meant(Request(model=MODEL, messages=turns, parameters=DRAWN, tools=tools))
    assert meant(streamed.request) == meant(Request(model=MODEL, messages=(SHOWN,)))
    counted = [(found.stream, bool(found.options.include_usage)) for found in (whole, streamed)]
    assert counted == [(False, False), (True, True)]
    assert _schema(parsed.request.parameters.format)["required"] == ["round"]


@pytest.mark.parametrize("client", HUGGING_FACE)
def test_a_text_to_be_completed(client: str) -> None:
    request = from_hf(SENT[client][3]).request
    assert meant(request) == meant(Request(model=MODEL, messages=(SPOKEN,), parameters=DRAWN))


@pytest.mark.parametrize("client", OPENAI)
def test_a_response_is_the_same_question_as_a_chat_and_is_parsed_as_one(client: str) -> None:
    asked = Request(model=MODEL, messages=(BRIEF, SHOWN), parameters=Parameters(max_new_tokens=16))
    assert meant(from_response(SENT[client][3]).request) == meant(asked)
    parsed = from_response(SENT[client][4]).request.parameters.format
    assert parsed == from_chat(SENT[client][2]).request.parameters.format


@pytest.mark.parametrize("client", HUGGING_FACE)
def test_a_question_about_a_picture_in_the_form_of_its_task(client: str) -> None:
    found = from_hf(SENT[client][4])
    assert meant(found.request) == meant(Request(model=MODEL, messages=(SHOWN,)))
    assert found.task == "visual-question-answering"


@pytest.mark.parametrize("client", HUGGING_FACE)
def test_a_picture_that_is_the_whole_body(client: str) -> None:
    sent = SENT[client][5]
    found = from_bytes(b64decode(sent["bytes"]), sent["content-type"])
    assert [shown.data for shown in found.request.images] == [PICTURE]
    assert found.task == "image-to-text"


def _schema(form: Format | None) -> dict[str, Any]:
    assert form is not None
    assert form.kind == "json"
    return dict(from_json(form.content))

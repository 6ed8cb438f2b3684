"""What clients really send, as tests/contract recorded it, is read as the one question that was meant."""

import json
from base64 import b64decode
from typing import Any

import pytest
from pydantic_core import from_json

from api.dialects.hf.task_requests import from_bytes, from_hf
from api.dialects.openai.chat import Completion, from_chat
from api.dialects.openai.completions import from_completion
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
CALLED = Message(
    role="assistant",
    parts=(Text(text="A look at the clock."),),
    calls=(ToolCall(id="call_1", name="clock", arguments="{}"),),
)
GIVEN = Message(role="tool", parts=(Text(text="Noon."),), answers="call_1")


def meant(request: Request) -> tuple[dict[str, Any], list[bytes | None]]:
    """What is computed, whatever wire it came by: without the model, which may stand in the path."""
    return request.model_dump(mode="json", exclude={"model"}), [picture.data for picture in request.images]


def chat(client: str, number: int) -> Completion:
    return from_chat(SENT[client][number])


def test_every_recorded_client_is_here() -> None:
    assert set(EVERYBODY) <= SENT.keys()


@pytest.mark.parametrize("client", EVERYBODY)
def test_a_conversation_with_a_picture_and_a_call(client: str) -> None:
    expected = Request(
        model=MODEL,
        messages=(BRIEF, SHOWN, CALLED, GIVEN),
        parameters=DRAWN,
        tools=Tools(functions=FUNCTIONS),
    )
    found = chat(client, 0)
    assert meant(found.request) == meant(expected)
    assert not found.stream


@pytest.mark.parametrize("client", EVERYBODY)
def test_a_stream_whose_tokens_are_counted(client: str) -> None:
    found = chat(client, 1)
    assert meant(found.request) == meant(Request(model=MODEL, messages=(SHOWN,)))
    assert (found.stream, found.options.include_usage) == (True, True)


@pytest.mark.parametrize("client", EVERYBODY)
def test_a_chat_that_is_to_be_parsed(client: str) -> None:
    assert _schema(chat(client, 2).request.parameters.format)["required"] == ["round"]


@pytest.mark.parametrize("client", OPENAI)
def test_a_text_to_be_completed(client: str) -> None:
    found = from_completion(SENT[client][3]).request
    expected = Request(model=MODEL, messages=(Message(role="user", parts=(ASK,)),), parameters=DRAWN)
    assert meant(found) == meant(expected)


@pytest.mark.parametrize("client", OPENAI)
def test_a_response_is_the_same_question_as_a_chat(client: str) -> None:
    found = from_response(SENT[client][4]).request
    parameters = Parameters(max_new_tokens=16)
    expected = Request(model=MODEL, messages=(BRIEF, SHOWN), parameters=parameters)
    assert meant(found) == meant(expected)


@pytest.mark.parametrize("client", OPENAI)
def test_a_response_that_is_to_be_parsed(client: str) -> None:
    asked = from_response(SENT[client][5]).request.parameters.format
    assert asked == chat(client, 2).request.parameters.format


def test_a_text_to_be_generated_by_hugging_face_s_python() -> None:
    found = from_hf(SENT["hf_python"][3]).request
    expected = Request(model=MODEL, messages=(Message(role="user", parts=(ASK,)),), parameters=DRAWN)
    assert meant(found) == meant(expected)


def test_a_text_to_be_generated_by_hugging_face_s_javascript() -> None:
    """It asks OpenAI's route, and names the model by its URL."""
    found = from_completion(SENT["hf_js"][3]).request
    expected = Request(
        model=f"http://service/models/{MODEL}",
        messages=(Message(role="user", parts=(ASK,)),),
        parameters=DRAWN,
    )
    assert meant(found) == meant(expected)


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

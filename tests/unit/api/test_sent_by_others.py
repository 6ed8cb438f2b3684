"""What other clients of Python really send, recorded once from each, is read as the question that was meant.

Each asked `What is this?`, but where its name ends in `text` about a picture, in its own words. Second turns
hold what an answer of `one`, or a call of `weather`, became in the client's hands. They are no part of the
tests' tools: docs/clients/README.md says which were tried.
"""

import json
from typing import Any

import pytest

from api.dialects.hf.task_requests import from_hf
from api.dialects.openai.chat import from_chat
from api.dialects.openai.responses import from_response
from shared.models import Model, Models
from shared.request import Format, Message, Parameters, Request, Text
from tests.support.golden import DATA

SENT: dict[str, dict[str, Any]] = json.loads((DATA / "sent/others_python.json").read_text(encoding="utf-8"))
THEN: dict[str, dict[str, Any]] = json.loads(
    (DATA / "sent/second_turns_python.json").read_text(encoding="utf-8")
)
TEXTS = ("langchain-huggingface 1.2.3 text", "text-generation 0.7.0 text")
MODELS = Models(tuple(Model(id=id, source=id) for id in ("sightline/tiny", "org/other")))


def asked(client: str) -> Request:
    path, body = SENT[client]["path"], SENT[client]["body"]
    of, _, door = path.removeprefix("/models/").partition("/v1")
    if path.startswith("/models/"):
        assert MODELS.resolve(body.get("model"), path_id=of).id == "sightline/tiny"
        return from_chat(body).request if door else from_hf(body).request
    return from_response(body).request if door == "/responses" else from_chat(body).request


def then(client: str, kind: str) -> tuple[Message, ...]:
    read = from_response if THEN[client]["path"] == "/v1/responses" else from_chat
    return read(THEN[client][kind]).request.messages


@pytest.mark.parametrize("client", SENT)
def test_a_question_is_read_whichever_client_asks(client: str) -> None:
    request = asked(client)
    parts = [part for message in request.messages for part in message.parts]
    assert [part.text for part in parts if isinstance(part, Text)] == ["What is this?"]
    assert {message.role for message in request.messages} == {"user"}
    pictures = 0 if client in TEXTS else 1
    assert len([picture for picture in request.images if picture.data]) == len(request.images) == pictures


@pytest.mark.parametrize("client", THEN)
def test_a_conversation_goes_on_whichever_client_sends_the_answer_back(client: str) -> None:
    turns = then(client, "words")
    assert [(turn.role, *(part.text for part in turn.parts if isinstance(part, Text))) for turn in turns] == [
        ("user", "one"),
        ("assistant", "one"),
        ("user", "two"),
    ]


@pytest.mark.parametrize("client", THEN)
def test_what_a_function_gave_is_read_whichever_client_sends_the_call_back(client: str) -> None:
    user, caller, tool = then(client, "calls")
    assert [(call.name, call.arguments) for call in caller.calls] == [("weather", '{"city":"Oslo"}')]
    assert (user.role, tool.role, tool.answers) == ("user", "tool", caller.calls[0].id)


@pytest.mark.parametrize("client", [name for name in SENT if name.endswith(" schema")])
def test_an_answer_of_a_schema_is_asked_for(client: str) -> None:
    found = asked(client).parameters.format
    assert isinstance(found, Format)
    schema = json.loads(found.content)
    assert (schema["required"], schema["properties"]["round"]["type"]) == (["round"], "boolean")


def test_what_langchain_always_says_is_obeyed() -> None:
    said = Parameters(max_new_tokens=512, do_sample=False, temperature=0.8, top_p=0.95, typical_p=0.95)
    assert asked("langchain-huggingface 1.2.3 text").parameters == said

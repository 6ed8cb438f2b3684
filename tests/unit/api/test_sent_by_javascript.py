"""What other clients of JavaScript really send, recorded once from each, is read as what was meant.

`first` are questions about a picture, `then` second turns, into which the client writes words of its own.
They are no part of the tests' tools: docs/clients/README.md says which were tried.
"""

import json
from typing import Any

import pytest

from api.dialects.openai.chat import from_chat
from api.dialects.openai.responses import from_response
from api.dialects.tools import to_tools
from shared.request import Request, Text
from tests.support.golden import DATA
from tests.support.tools import WEATHER

SENT: dict[str, Any] = json.loads((DATA / "sent/others_javascript.json").read_text(encoding="utf-8"))

AGENTS = "@openai/agents 0.20.0 chat_completions"


def asked(sent: dict[str, Any]) -> Request:
    read = from_response if sent["path"] == "/responses" else from_chat
    return read(sent["body"]).request


@pytest.mark.parametrize("client", SENT["first"])
def test_a_question_is_read_whichever_client_asks(client: str) -> None:
    request = asked(SENT["first"][client])
    parts = [part for message in request.messages for part in message.parts]
    assert [part.text for part in parts if isinstance(part, Text)] == ["What is this?"]
    assert {message.role for message in request.messages} == {"user"}
    assert len([picture for picture in request.images if picture.data]) == len(request.images) == 1


@pytest.mark.parametrize("client", [name for name in SENT["then"] if name.startswith("openai ")])
def test_what_a_function_gave_is_sent_back_by_older_run_tools_with_its_own_parsed(client: str) -> None:
    user, caller, tool = asked(SENT["then"][client]).messages
    assert [call.name for call in caller.calls] == ["weather"]
    assert (user.role, tool.answers) == ("user", caller.calls[0].id)


def test_a_conversation_of_the_agents_sdk_goes_on_though_its_parts_say_whose_they_are() -> None:
    turns = asked(SENT["then"][AGENTS]).messages
    assert [(turn.role, *(part.text for part in turn.parts if isinstance(part, Text))) for turn in turns] == [
        ("user", "one"),
        ("assistant", "one"),
        ("user", "two"),
    ]


def test_a_run_of_the_agents_sdk_goes_on_though_it_copies_a_call_into_the_words_beside_it() -> None:
    _, caller, tool, *_ = asked(SENT["then"][f"{AGENTS}, words and a call"]).messages
    [call] = caller.calls
    assert (caller.parts, tool.answers) == ((Text(text="Let me look."),), call.id)


@pytest.mark.parametrize(
    "copied", [{"annotations": [{}]}, {"reasoning": "Hm."}, {"reasoning_content": "Hm."}]
)
def test_what_another_service_answered_beside_its_words_is_read_over_in_its_parts(copied: Any) -> None:
    said = {"type": "text", "text": "one", **copied}
    [turn] = from_chat({"messages": [{"role": "assistant", "content": [said]}]}).request.messages
    assert turn.parts == (Text(text="one"),)


def test_the_ai_sdk_for_hugging_face_names_a_function_of_a_response_as_one_of_a_chat() -> None:
    tools = [{"type": "function", **WEATHER["function"]}]
    shown = [
        to_tools(tools, choice, None, flat=True)
        for choice in (
            {"type": "function", "function": {"name": "weather"}},
            {"type": "function", "name": "weather"},
        )
    ]
    assert shown[0] == shown[1]


def test_what_parsing_helpers_put_into_an_answer_may_come_back_with_it() -> None:
    turn = {"role": "user", "content": "And?"}
    said = {"type": "output_text", "text": "{}", "annotations": [], "parsed": {}}
    call = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}", "parsed_arguments": {}}
    given = {"type": "function_call_output", "call_id": "c", "output": "Rain."}
    items = [turn, {"type": "message", "role": "assistant", "content": [said]}, call, given, turn]
    assert len(from_response({"model": "m", "input": items}).request.messages) == 4

    function = {"name": "f", "arguments": "{}", "parsed_arguments": {}}
    called: dict[str, Any] = {"role": "assistant", "content": None, "parsed": None}
    called |= {"tool_calls": [{"id": "c", "type": "function", "function": function}]}
    turns = [turn, called, {"role": "tool", "tool_call_id": "c", "content": "Rain."}]
    assert len(from_chat({"model": "m", "messages": turns}).request.messages) == 3

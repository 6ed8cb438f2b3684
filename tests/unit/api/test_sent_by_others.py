"""What other clients and programs really send, recorded once from each, is read as what was meant.

Each asked `What is this?`, but where its name ends in `text` about a picture. Second turns hold what an
answer of `one`, or a call of `weather`, became. Those that measure are written down from their sources.
docs/clients/README.md says which were tried.
"""

import json
from typing import Any

import pytest

from api.dialects.hf.task_requests import from_hf
from api.dialects.openai.chat import from_chat
from api.dialects.openai.responses import from_response
from api.dialects.unknown_fields import ignored_fields
from shared.request import Format, Image, Message, Parameters, Request, Text
from tests.support.golden import DATA
from tests.support.refusal import refusal
from tests.support.tools import WEATHER

Sent = dict[str, Any]


def recorded(name: str) -> dict[str, Any]:
    return dict(json.loads((DATA / f"sent/{name}.json").read_text(encoding="utf-8")))


PYTHON, THEN, JAVASCRIPT = (
    recorded("others_python"),
    recorded("second_turns_python"),
    recorded("others_javascript"),
)
SENT: dict[str, Sent] = PYTHON | JAVASCRIPT["first"]
TEXTS = ("langchain-huggingface 1.2.3 text", "text-generation 0.7.0 text")
AGENTS = "@openai/agents 0.20.0 chat_completions"
WORDS = {client: {"path": said["path"], "body": said["words"]} for client, said in THEN.items()}
WORDS |= {AGENTS: JAVASCRIPT["then"][AGENTS]}
CALLS = {client: {"path": said["path"], "body": said["calls"]} for client, said in THEN.items()}
CALLS |= {name: sent for name, sent in JAVASCRIPT["then"].items() if name.startswith("openai ")}
MEASURING: dict[str, Sent] = recorded("measuring")
PROGRAMS = recorded("programs")


def read(sent: Sent) -> Any:
    path, body = sent["path"], sent["body"]
    if path.endswith("/responses"):
        return from_response(body)
    if path.startswith("/models/") and "/v1" not in path:
        return from_hf(body)
    return from_chat(body)


def asked(sent: Sent) -> Request:
    request: Request = read(sent).request
    return request


def words(turn: Message) -> tuple[str, ...]:
    return (turn.role, *(part.text for part in turn.parts if isinstance(part, Text)))


@pytest.mark.parametrize("client", SENT)
def test_a_question_is_read_whichever_client_asks(client: str) -> None:
    request = asked(SENT[client])
    assert [text for turn in request.messages for text in words(turn)[1:]] == ["What is this?"]
    assert {message.role for message in request.messages} == {"user"}
    pictures = 0 if client in TEXTS else 1
    assert len([picture for picture in request.images if picture.data]) == len(request.images) == pictures


@pytest.mark.parametrize("client", WORDS)
def test_a_conversation_goes_on_whichever_client_sends_the_answer_back(client: str) -> None:
    turns = [words(turn) for turn in asked(WORDS[client]).messages]
    assert turns == [("user", "one"), ("assistant", "one"), ("user", "two")]


@pytest.mark.parametrize("client", CALLS)
def test_what_a_function_gave_is_read_whichever_client_sends_the_call_back(client: str) -> None:
    user, caller, tool = asked(CALLS[client]).messages
    assert [(call.name, json.loads(call.arguments)["city"]) for call in caller.calls] == [("weather", "Oslo")]
    assert (user.role, tool.role, tool.answers) == ("user", "tool", caller.calls[0].id)


def test_a_run_of_the_agents_sdk_goes_on_though_it_copies_a_call_into_the_words_beside_it() -> None:
    _, caller, tool, *_ = asked(JAVASCRIPT["then"][f"{AGENTS}, words and a call"]).messages
    [call] = caller.calls
    assert (caller.parts, tool.answers) == ((Text(text="Let me look."),), call.id)


@pytest.mark.parametrize("client", [name for name in SENT if name.endswith(" schema")])
def test_an_answer_of_a_schema_is_asked_for(client: str) -> None:
    found = asked(SENT[client]).parameters.format
    assert isinstance(found, Format)
    schema = json.loads(found.content)
    assert (schema["required"], schema["properties"]["round"]["type"]) == (["round"], "boolean")


def test_what_langchain_always_says_is_obeyed() -> None:
    said = Parameters(max_new_tokens=512, do_sample=False, temperature=0.8, top_p=0.95, typical_p=0.95)
    assert asked(SENT["langchain-huggingface 1.2.3 text"]).parameters == said


@pytest.mark.parametrize("client", MEASURING)
def test_who_measures_gets_an_answer_of_the_length_that_is_measured(client: str) -> None:
    call = read(MEASURING[client])
    wanted = Parameters(max_new_tokens=128, ignore_eos=True)
    assert call.request.parameters.model_copy(update={"repetition_penalty": None}) == wanted
    assert (call.stream, call.options.include_usage) == (True, True)
    assert call.options.running_usage == client.startswith("guidellm")


@pytest.mark.parametrize(
    "copied", [{"annotations": [{}]}, {"reasoning": "Hm."}, {"reasoning_content": "Hm."}]
)
def test_what_another_service_answered_beside_its_words_is_read_over_in_its_parts(copied: Any) -> None:
    said = {"type": "text", "text": "one", **copied}
    [turn] = from_chat({"messages": [{"role": "assistant", "content": [said]}]}).request.messages
    assert turn.parts == (Text(text="one"),)


def test_the_ai_sdk_for_hugging_face_names_a_function_of_a_response_as_one_of_a_chat() -> None:
    asking: Sent = {"input": "Hi", "tools": [{"type": "function", **WEATHER["function"]}]}
    named = {"type": "function", "function": {"name": "weather"}}, {"type": "function", "name": "weather"}
    one, other = (from_response(asking | {"tool_choice": choice}).request.tools for choice in named)
    assert one == other != from_response(asking).request.tools


def test_what_parsing_helpers_put_into_an_answer_may_come_back_with_it() -> None:
    turn = {"role": "user", "content": "And?"}
    part = {"type": "output_text", "text": "{}", "annotations": [], "parsed": {}}
    said = {"type": "message", "role": "assistant", "content": [part]}
    call = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}", "parsed_arguments": {}}
    given = {"type": "function_call_output", "call_id": "c", "output": "Rain."}
    assert len(from_response({"input": [turn, said, call, given, turn]}).request.messages) == 4

    made = {"id": "c", "function": {"name": "f", "arguments": "{}", "parsed_arguments": {}}}
    called = {"role": "assistant", "content": None, "parsed": None, "tool_calls": [made]}
    turns = [turn, called, {"role": "tool", "tool_call_id": "c", "content": "Rain."}]
    assert len(from_chat({"messages": turns}).request.messages) == 3


def test_a_session_of_codex_goes_on_though_it_says_which_it_is_and_asks_for_summaries() -> None:
    call = from_response(PROGRAMS["codex 0.169.0"])
    turns = call.request.messages[-5:]
    given = "Wall time: 0.0000 seconds\nOutput:\nNoon.\n"
    said = [("user", "one"), ("assistant",), ("tool", given), ("assistant", "Noon."), ("user", "two")]
    assert [words(turn) for turn in turns] == said
    [made] = turns[1].calls
    assert (made.name, turns[2].answers) == ("exec_command", made.id)
    assert call.request.tools is not None
    assert [tool.name for tool in call.request.tools.functions] == ["exec_command", "view_image", "get_goal"]
    assert (call.stream, call.stored) == (True, False)


def test_a_benchmark_of_vlmevalkit_is_asked_though_it_says_into_how_many_tiles_a_picture_is_cut() -> None:
    with ignored_fields() as ignored:
        request = from_chat(PROGRAMS["VLMEvalKit"]).request
    assert [type(part) for part in request.messages[0].parts] == [Text, Image]
    assert request.parameters.max_new_tokens == 16384
    assert ignored == ["messages[0].content[1].image_url.max_dynamic_patch"]


HI = {"messages": [{"role": "user", "content": "Hi"}]}
OFF: dict[str, Any] = {"enable_thinking": False}
DISABLED: dict[str, Any] = {"thinking": {"type": "disabled"}}


@pytest.mark.parametrize(
    "sent",
    [
        DISABLED,
        OFF,
        OFF | DISABLED,
        OFF | {"chat_template_kwargs": OFF},
        OFF | {"chat_template_kwargs": {"enable_thinking": None}},
        DISABLED | {"chat_template_kwargs": OFF},
    ],
    ids=str,
)
def test_whichever_way_a_program_says_it_the_model_does_not_think(sent: dict[str, Any]) -> None:
    """As UI-TARS, Midscene and Dify do."""
    meant = from_chat({**HI, "chat_template_kwargs": OFF}).request.parameters
    assert from_chat({**HI, **sent}).request.parameters == meant
    if "chat_template_kwargs" not in sent:
        assert from_response({"input": "Hi", **sent}).request.parameters == meant


@pytest.mark.parametrize(
    ("sent", "param"),
    [
        (OFF | {"chat_template_kwargs": {"enable_thinking": True}}, "enable_thinking"),
        (DISABLED | {"enable_thinking": True}, "thinking"),
    ],
)
def test_who_says_both_about_thinking_hears_it(sent: dict[str, Any], param: str) -> None:
    assert refusal(from_chat, {**HI, **sent}) == ("invalid_request", param)


@pytest.mark.parametrize(
    "sent", [{"thinking": {"type": "auto"}}, {"enable_thinking": None}, {"vl_high_resolution_images": True}]
)
def test_nothing_is_said_of_thinking_where_the_model_shall_decide(sent: dict[str, Any]) -> None:
    assert from_chat({**HI, **sent}).request == from_chat(HI).request


def test_a_picture_whose_kind_copilot_names_is_read() -> None:
    def asked(**named: str) -> Any:
        picture = {"type": "image_url", "image_url": {"url": "https://example.org/a.png"} | named}
        return from_chat({"messages": [{"role": "user", "content": [picture]}]}).request

    assert asked(media_type="image/png") == asked(mediaType="image/png") == asked()

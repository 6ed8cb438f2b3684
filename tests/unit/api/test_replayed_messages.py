"""Histories that other services wrote go on here; what would be lost in them is refused by name."""

from typing import Any

import pytest

from api.dialects.hf.task_requests import from_hf
from api.dialects.native.job_requests import from_job
from api.dialects.openai.chat import from_chat
from api.dialects.openai.responses import from_response
from api.dialects.unknown_fields import ignored_fields
from shared.errors import CallerError
from tests.support.refusal import refusal
from tests.support.tools import CLOCK

ASK = {"role": "user", "content": "Hi"}
SAID: dict[str, Any] = {"role": "assistant", "content": "It is"}
CALL: dict[str, Any] = {"id": "c", "type": "function", "function": {"name": "clock", "arguments": "{}"}}
PREFIX = SAID | {"prefix": True}
GIVEN: dict[str, Any] = {"role": "tool", "tool_call_id": "c", "content": "Noon."}
IDLE: list[Any] = [
    {"thinking_blocks": None},
    {"thinking_blocks": []},
    {"thinking_blocks": {}},
    {"cache_control": {"type": "ephemeral"}},
]
CALLED = {"type": "function_call", "call_id": "c", "name": "clock", "arguments": "{}"}
OUTPUT = {"type": "function_call_output", "call_id": "c", "output": "Noon."}


def chat(**more: dict[str, Any]) -> Any:
    """A conversation with something beside the fields of one of its pieces."""
    text = {"type": "text", "text": "Hi"} | more.get("part", {})
    called = CALL | more.get("call", {}) | {"function": CALL["function"] | more.get("made", {})}
    turns = [{"role": "user", "content": [text]}, SAID | more.get("said", {}), ASK]
    turns += [{"role": "assistant", "content": None, "tool_calls": [called]}, GIVEN | more.get("given", {})]
    return {"messages": turns, "tools": [CLOCK | more.get("tool", {})]}


@pytest.mark.parametrize("more", IDLE)
@pytest.mark.parametrize("piece", ["said", "part", "call", "made", "tool"])
def test_what_asks_for_nothing_in_a_piece_costs_no_conversation(piece: str, more: dict[str, Any]) -> None:
    asked: dict[str, Any] = {piece: more}
    assert from_chat(chat(**asked)) == from_chat(chat())


@pytest.mark.parametrize("more", IDLE)
def test_an_item_of_a_response_may_hold_what_asks_for_nothing(more: dict[str, Any]) -> None:
    said = {"type": "output_text", "text": "It is"}
    items = [ASK, {"role": "assistant", "content": [said | more]} | more, CALLED | more, OUTPUT | more]
    tools = [{"type": "function", "name": "clock"} | more]
    assert len(from_response({"input": items, "tools": tools}).request.messages) == 3


@pytest.mark.parametrize(
    "reasoned",
    [
        {"id": "rs_1", "summary": []},
        {"summary": [{"type": "summary_text", "text": "Hm."}], "encrypted_content": "gAAA"},
        {"id": "rs_1", "summary": [], "content": [{"type": "reasoning_text", "text": "Hm."}]},
    ],
)
def test_what_another_services_model_thought_costs_no_conversation(reasoned: Any) -> None:
    thought = {"type": "reasoning"} | reasoned
    asked = from_response({"input": [ASK, thought, SAID, thought, CALLED, OUTPUT, thought]}).request.messages
    assert [(turn.role, len(turn.calls)) for turn in asked] == [("user", 0), ("assistant", 1), ("tool", 0)]
    assert asked[:2] == from_response({"input": [ASK, SAID, CALLED, OUTPUT]}).request.messages[:2]


@pytest.mark.parametrize("family", ["chat", "responses"])
def test_a_function_that_gave_nothing_and_a_model_that_said_nothing_cost_no_conversation(family: str) -> None:
    def asked(nothing: Any) -> Any:
        if family == "chat":
            turns = [ASK, SAID | {"content": nothing}, {"role": "assistant", "tool_calls": [CALL]}]
            return from_chat({"messages": [*turns, GIVEN | {"content": nothing}]})
        items = [ASK, SAID | {"content": nothing}, CALLED, OUTPUT | {"output": nothing}]
        return from_response({"input": items})

    assert asked([]) == asked("")


@pytest.mark.parametrize(
    ("body", "advice"),
    [
        ({"tool_choice": {"type": "allowed_tools"}}, "type` 'allowed_tools' .* `tool_choice` out"),
        ({"tools": [{"type": "custom"}]}, r"'custom' .* `tools\[0\]` out"),
        ({"messages": [{"role": "function", "content": "x"}]}, r"'function' .* `messages\[0\]` out"),
        ({"input": [{"type": "web_search_call"}]}, r"'web_search_call' .* `input\[0\]` out"),
        ({"input": [{"type": "x" * 900}]}, r"^`input\[0\]\.type` 'x{79} is not implemented; .*"),
    ],
)
def test_who_sends_a_kind_that_is_not_implemented_is_told_what_to_leave_out(body: Any, advice: str) -> None:
    read, asked = (from_response, {}) if "input" in body else (from_chat, {"messages": [ASK]})
    with pytest.raises(CallerError, match=advice):
        read(asked | body)


@pytest.mark.parametrize(
    ("asked", "param"),
    [
        ({"said": {"thinking_blocks": [{"thinking": "Hm."}]}}, "messages[1].thinking_blocks"),
        ({"said": {"cache": 0}}, "messages[1].cache"),
        ({"said": {"cache": ""}}, "messages[1].cache"),
        ({"part": {"cache": {"type": "ephemeral"}}}, "messages[0].content[0].cache"),
        ({"call": {"extra_content": {"a": 1}}}, "messages[3].tool_calls[0].extra_content"),
        ({"tool": {"cache": {"type": "ephemeral"}}}, "tools[0].cache"),
    ],
)
def test_what_nobody_knows_is_ignored_and_named(asked: Any, param: str) -> None:
    with ignored_fields() as paths:
        from_chat(chat(**asked) | {"max_tokns": 5})
    assert sorted(paths) == sorted(["max_tokns", param])


@pytest.mark.parametrize(
    ("read", "body"),
    [
        (from_chat, {"messages": [ASK]}),
        (from_response, {"input": "Hi"}),
        (from_job, {"messages": [ASK]}),
        (from_job, {"messages": [ASK], "parameters": {"temperature": 0}}),
        (lambda body: from_hf(body), {"inputs": "Hi"}),
        (lambda body: from_hf(body), {"inputs": "Hi", "parameters": {"temperature": 0}}),
    ],
)
def test_a_client_that_dumps_a_whole_request_of_another_service_is_answered(read: Any, body: Any) -> None:
    unused = {"guided_regex": None, "lora_path": None}
    dumped = body | unused | ({"parameters": body["parameters"] | unused} if "parameters" in body else {})
    assert read(dumped) == read(body)


@pytest.mark.parametrize(
    "nothing",
    [
        {"mm_processor_kwargs": {}, "priority": 0},
        {"separate_reasoning": True},
        {"safe_prompt": False, "transforms": []},
        {"mirostat": 0, "tfs_z": 1, "top_a": 0, "grammar": "", "suffix": "", "system": ""},
        {"dry_multiplier": 0, "dynatemp_range": 0, "xtc_probability": 0, "id_slot": -1, "cache_prompt": True},
        {"stream_reasoning": True, "return_hidden_states": False, "return_cached_tokens_details": False},
    ],
)
def test_defaults_of_other_servers_are_taken(nothing: dict[str, Any]) -> None:
    assert from_chat({"messages": [ASK]} | nothing) == from_chat({"messages": [ASK]})


def heard(part: dict[str, Any]) -> Any:
    return from_chat({"messages": [{"role": "user", "content": [part]}]}).request.messages[0].parts[0]


@pytest.mark.parametrize("named", ["WAV", "x-wav", "mpeg", ""])
def test_a_sound_is_taken_whatever_its_format_is_called(named: str) -> None:
    part = {"type": "input_audio", "input_audio": {"data": "UklGRiQAAABXQVZF"}}
    named_part = part | {"input_audio": {"data": "UklGRiQAAABXQVZF", "format": named}}
    assert heard(named_part) == heard(part)


@pytest.mark.parametrize("url", ["https://a.example/a.mp3", {"url": "https://a.example/a.mp3"}])
def test_a_sound_by_vllms_name_is_heard(url: Any) -> None:
    assert heard({"type": "audio_url", "audio_url": url}).url == "https://a.example/a.mp3"


def test_a_picture_may_have_a_key_of_vllms_cache_beside_it_and_not_in_its_place() -> None:
    def shown(**more: Any) -> Any:
        part = {"type": "image_url", "uuid": "cat-1"} | more
        return from_chat({"messages": [{"role": "user", "content": [part]}]}).request

    assert shown(image_url="https://a.example/cat.png").images
    with pytest.raises(CallerError, match=r"content\[0\]\.image_url` is required"):
        shown()


@pytest.mark.parametrize(
    "asked",
    [
        {"said": {"provider_specific_fields": {"refusal": None, "citations": ["a"]}}},
        {"call": {"provider_specific_fields": {"a": "b"}}},
        {"made": {"provider_specific_fields": {"a": "b"}}},
        {"said": {"phase": "final_answer"}},
        {"said": {"prefix": False}},
        {"said": {"reasoning_details": [{"type": "reasoning.text", "text": "Hm"}]}},
        {"part": {"id": "lc_1", "index": "lc_txt_0"}},
        {"part": {"index": 0}},
        {"given": {"status": "success"}},
        {"given": {"status": "error"}},
    ],
)
def test_what_clients_keep_beside_an_answer_changes_nothing(asked: Any) -> None:
    assert from_chat(chat(**asked)) == from_chat(chat())


def test_a_turn_in_which_nothing_but_thoughts_was_said_costs_no_conversation() -> None:
    assert from_chat(chat(said={"content": None, "reasoning": "Hm"})) == from_chat(chat(said={"content": ""}))


@pytest.mark.parametrize("read", [lambda body: from_chat(body).request, lambda body: from_job(body).request])
def test_a_final_turn_that_mistrals_clients_call_a_prefix_is_gone_on_with(read: Any) -> None:
    assert read({"messages": [ASK, PREFIX]}).continue_final


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"messages": [ASK, PREFIX, ASK]}, "messages[1].prefix"),
        ({"messages": [ASK | {"prefix": True}]}, "messages[0].prefix"),
        ({"messages": [ASK, SAID | {"prefix": "yes"}]}, "messages[1].prefix"),
        ({"messages": [ASK, PREFIX], "continue_final_message": False}, "continue_final_message"),
    ],
)
def test_a_prefix_that_cannot_be_gone_on_with_is_refused_and_not_ignored(body: Any, param: str) -> None:
    assert refusal(from_chat, body) == ("invalid_request", param)

"""What OpenAI's clients send to /v1/responses, read into the canonical request."""

from typing import Any

import pytest

from api.dialects.openai.chat import from_chat
from api.dialects.openai.responses import from_response
from shared.request import Format, Image, Message, Parameters, Request, Text
from tests.support.mutations import refusals
from tests.support.refusal import refusal

URL = "https://example.org/a.png"
DATA = "data:image/png;base64,iVBORw0KGgo="
TEXT = {"type": "output_text", "text": "Red.", "annotations": [], "logprobs": []}
ANSWERED = {"id": "msg_1", "type": "message", "status": "completed", "role": "assistant", "phase": None}
CLOCK = {"type": "function", "name": "clock"}
SCHEMA = {"type": "object", "properties": {"colour": {"type": "string"}}}
FORMAT = {"type": "json_schema", "name": "seen", "schema": SCHEMA, "strict": True}
SHOWN = {"type": "input_image", "image_url": URL, "detail": "low"}
PICTURE = {"type": "input_image", "image_url": DATA, "detail": "auto", "file_id": None}
ASKED = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "And this?"}, PICTURE]}
SAMPLING = {"temperature": 0, "top_p": 0.5, "seed": 7, "stop": "END", "max_output_tokens": 5}
TOLD_LOGPROBS = "message.output_text.logprobs"
IDLE = {"tools": [], "tool_choice": "auto", "parallel_tool_calls": True, "truncation": "auto", "store": True}
IDLE |= {"reasoning": {"effort": None, "summary": "auto"}, "stream_options": {"include_obfuscation": False}}
HINTS = {"client_metadata": {"session_id": "0199"}, "prompt_cache_retention": "24h"}
TOLD = {"user": "u1", "safety_identifier": "s1", "prompt_cache_key": "c1"}
FULL: dict[str, Any] = {
    "model": "org/model:hf-inference",
    "instructions": "Be brief.",
    "input": [
        {"role": "developer", "content": "Answer in French."},
        {"role": "user", "content": [SHOWN]},
        ANSWERED | {"content": [TEXT]},
        ASKED,
    ],
    "previous_response_id": "resp_1",
    "top_logprobs": 3,
    "include": [TOLD_LOGPROBS, "reasoning.encrypted_content"],
    "text": {"format": FORMAT, "verbosity": "medium"},
    "background": True,
    "metadata": {"shop": "7"},
    "service_tier": "flex",
    "stream": True,
    **(SAMPLING | IDLE | HINTS | TOLD),
}


def test_every_field_of_a_call_arrives() -> None:
    call = from_response(FULL)

    held = '{"type":"object","properties":{"colour":{"type":"string"}},"additionalProperties":false}'
    shown = Image(url=URL, detail="low", param="input[1].content[0].image_url")
    picture = Image(data=b"\x89PNG\r\n\x1a\n", param="input[3].content[1].image_url")
    drawn = Parameters(max_new_tokens=5, temperature=0, top_p=0.5, seed=7, stop=("END",), logprobs=3)
    assert call.request == Request(
        model="org/model:hf-inference",
        messages=(
            Message(role="system", parts=(Text(text="Be brief."),)),
            Message(role="system", parts=(Text(text="Answer in French."),)),
            Message(role="user", parts=(shown,)),
            Message(role="assistant", parts=(Text(text="Red."),)),
            Message(role="user", parts=(Text(text="And this?"), picture)),
        ),
        parameters=drawn.model_copy(update={"format": Format(kind="json", content=held)}),
        named={"messages": "input", "max_new_tokens": "max_output_tokens", "format": "text.format"},
    )
    assert (call.stream, call.metadata, call.priority) == (True, {"shop": "7"}, "batch")
    assert call.fields.model_dump(exclude_defaults=True) == {
        "background": True,
        "instructed": True,
        "previous": "resp_1",
        "format": {"type": "json_schema", "name": "seen", "strict": True},
        "details": ("low", "auto"),
        **TOLD,
    }


def test_a_text_asks_the_same_as_the_item_that_holds_it() -> None:
    short = from_response({"input": "Hi"})
    assert short == from_response(one_part({"type": "input_text", "text": "Hi"}))
    assert (short.stream, short.stored, short.metadata, short.priority) == (False, True, {}, "normal")
    assert not from_response({"input": "Hi", "store": False}).stored
    assert short.fields.model_dump(exclude_defaults=True) == {}


def one_part(part: Any) -> dict[str, Any]:
    return {"input": [{"role": "user", "content": [part]}]}


def schema(wanted: Any) -> dict[str, Any]:
    return {"text": {"format": {"type": "json_schema", "schema": wanted}}}


def test_a_picture_alone_is_asked_the_question_that_every_door_asks() -> None:
    call = from_response(one_part({"type": "input_image", "image_url": URL}))
    assert call.request.messages[-1].parts[1:] == (Text(text="Describe the image."),)


def test_a_picture_can_be_a_file_that_was_uploaded() -> None:
    part = {"type": "input_image", "file_id": "file-1", "image_url": None}
    call = from_response(one_part(part))
    assert call.request.images == (Image(file="file-1", param="input[0].content[0].file_id"),)


@pytest.mark.parametrize("options", [None, {}, {"completion_window": "soonest"}])
def test_a_response_that_may_end_as_soon_as_it_can_asks_for_nothing(options: Any) -> None:
    assert from_response({"input": "Hi", "background_options": options}) == from_response({"input": "Hi"})


def test_a_picture_that_is_a_path_is_refused_by_its_place() -> None:
    part = {"type": "input_image", "image_url": "/etc/passwd"}
    assert refusal(from_response, one_part(part)) == ("invalid_image_url", "input[0].content[0].image_url")


def test_a_service_tier_is_a_place_in_line() -> None:
    asked = [
        from_response({"input": "Hi", "service_tier": t}) for t in ("auto", "default", "flex", "priority")
    ]
    assert [call.priority for call in asked] == ["normal", "normal", "batch", "interactive"]


@pytest.mark.parametrize(
    ("include", "top", "logprobs"),
    [(None, None, None), ([TOLD_LOGPROBS], None, 0), ([TOLD_LOGPROBS], 20, 20), ([], 2, 2), ([], 0, None)],
)
def test_logprobs_are_computed_where_they_are_asked_for(include: Any, top: Any, logprobs: Any) -> None:
    call = from_response({"input": "Hi", "include": include, "top_logprobs": top})
    assert call.request.parameters.logprobs == logprobs


@pytest.mark.parametrize(
    ("form", "content"), [({"type": "text"}, None), ({"type": "json_object"}, '{"type":"object"}')]
)
def test_a_format_without_a_schema_is_understood(form: dict[str, str], content: str | None) -> None:
    call = from_response({"input": "Hi", "text": {"format": form}})

    held = call.request.parameters.format
    assert (held.content if held else None) == content
    assert call.fields.format == form


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"tool_choice": {"type": "file_search"}}, "tool_choice.type"),
        ({"input": [{"type": "custom_tool_call_output", "output": "x"}]}, "input[0].type"),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input[0].type"),
        ({"background_options": {"completion_window": "24h"}}, "background_options"),
        ({"tools": [CLOCK | {"defer_loading": True}]}, "tools[0].defer_loading"),
        ({"tools": [CLOCK | {"output_schema": {"type": "object"}}]}, "tools[0].output_schema"),
        ({"tools": [CLOCK | {"allowed_callers": ["programmatic"]}]}, "tools[0].allowed_callers"),
        ({"messages": [{}]}, "messages"),
        ({"n": 2}, "n"),
        (schema({"uniqueItems": True}), "text.format.schema.uniqueItems"),
    ],
)
def test_what_would_change_the_answer_is_refused_never_ignored(change: dict[str, Any], param: str) -> None:
    assert refusal(from_response, {"input": "Hi"} | change) == ("unsupported_parameter", param)


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"input": [{"type": "reasoning", "summary": []}]}, "input"),
        ({"input": [{"id": "msg_1"}]}, "input[0].role"),
        ({"input": [{"role": "tool", "content": "Hi"}]}, "input[0].role"),
        ({"top_logprobs": 21}, "top_logprobs"),
        ({"user": "u" * 513}, "user"),
        ({"metadata": {"k": "v" * 513}}, "metadata.k"),
        ({"text": {"format": {"type": "text", "schema": {}}}}, "text.format.schema"),
        (schema({"type": "colour"}), "text.format.schema.type"),
    ],
)
def test_the_wrong_field_is_named(change: dict[str, Any], param: str) -> None:
    assert refusal(from_response, {"input": "Hi"} | change) == ("invalid_request", param)


def test_whatever_is_broken_is_named_and_never_a_server_error() -> None:
    assert len(refusals(from_response, FULL | {"max_tool_calls": 1})) > 300


def test_a_list_of_nothing_but_parts_is_one_message() -> None:
    parts = [{"type": "input_text", "text": "What is this?"}, {"type": "input_image", "image_url": URL}]
    turn = {"role": "user", "content": parts}
    bare, whole = (from_response({"model": "m", "input": said}).request for said in (parts, [turn]))
    assert bare.model_dump() == whole.model_dump()
    wrong = refusal(from_response, {"input": [*parts, {"type": "input_image", "image_url": 5}]})
    assert (wrong[1] or "").startswith("input[2]")


@pytest.mark.parametrize(
    "sent",
    [
        {"guided_regex": "[0-9]+"},
        {"structured_outputs": {"choice": ["cat", "dog"]}},
        {"response_format": {"type": "json_object"}},
        {"chat_template_kwargs": {"style": "brief", "fps": 2}, "vllm_xargs": {"no_repeat_ngram_size": 5}},
        {"do_sample": False, "typical_p": 0.5, "min_tokens": 2, "logit_bias": {"5": 1}},
        {"ignore_eos": True, "skip_special_tokens": False, "stop_token_ids": [5]},
    ],
)
def test_what_a_chat_takes_means_the_same_in_a_response(sent: dict[str, Any]) -> None:
    chat = from_chat({"messages": [{"role": "user", "content": "Hi"}]} | sent).request
    assert from_response({"input": "Hi"} | sent).request.parameters == chat.parameters != Parameters()


def test_thinking_is_one_thing_however_it_is_spelled() -> None:
    sent = {"input": "Hi", "reasoning": {"effort": "low"}, "enable_thinking": False}
    variables = (("enable_thinking", False), ("reasoning_effort", "low"))
    assert from_response(sent).request.parameters == Parameters(chat_template_kwargs=variables)

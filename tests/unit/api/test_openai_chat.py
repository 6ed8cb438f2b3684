from dataclasses import replace
from typing import Any

import pytest

from api.dialects.openai.chat import (
    ChatChunkWriter,
    ChunkHead,
    _envelope,
    chat_chunk,
    from_chat,
    to_completion,
)
from api.dialects.openai.usage import to_usage
from shared.job import JobView, Priority
from shared.request import Image, Message, Parameters, Request, Text
from shared.result import Usage
from tests.support.golden import assert_golden
from tests.support.mutations import refusals
from tests.support.refusal import refusal
from tests.support.views import QUEUED, result_of, succeeded

URL = "https://example.org/a.png"
ASK = [{"role": "user", "content": "Hi"}]
SAMPLING = {"temperature": 0, "top_p": 0.5, "top_k": 3, "seed": 7, "repetition_penalty": 1.1}
PENALTIES = {"frequency_penalty": 0.5, "presence_penalty": -0.5}
IDLE = {"n": 1, "logprobs": False, "top_logprobs": 0, "logit_bias": {}, "tools": [], "tool_choice": "auto"}
IDLE |= {"response_format": {"type": "text"}, "modalities": ["text"], "parallel_tool_calls": True}
ABOUT = {"user": "u", "metadata": {"a": "b"}, "store": True, "service_tier": "auto", "safety_identifier": "s"}
PARTS = [
    {"type": "text", "text": "What is this?", "image_url": None},
    {"type": "image_url", "image_url": {"url": URL, "detail": "low", "format": "image/png"}},
    {"type": "image_url", "image_url": URL, "prompt_cache_breakpoint": {"mode": "explicit"}},
    {"type": "image", "image": URL},
    {"type": "image", "url": "data:image/png;base64,iVBORw0KGgo="},
    {"type": "input_image", "image_url": URL, "detail": "auto"},
    {"type": "input_text", "text": "And these?"},
]
ABSENT: dict[str, Any] = {"tool_calls": None, "function_call": None, "annotations": [], "audio": None}
FULL: dict[str, Any] = {
    "model": "org/model:hf-inference",
    "messages": [
        {"role": "developer", "content": "Be brief.", "name": "ops"},
        {"role": "user", "content": PARTS},
        {"role": "assistant", "content": None, "refusal": "No."} | ABSENT,
        {"role": "user", "content": "Please."},
    ],
    "max_tokens": 5,
    "max_completion_tokens": 5,
    "stop": ["\n", "END"],
    "stream": True,
    "stream_options": {"include_usage": True},
    "add_generation_prompt": True,
    **(SAMPLING | PENALTIES | IDLE | ABOUT),
}


def test_every_documented_parameter_of_a_chat_is_read() -> None:
    chat = from_chat(FULL)
    at = "messages[1].content"
    parts = (
        Text(text="What is this?"),
        Image(url=URL, detail="low", param=f"{at}[1].image_url.url"),
        Image(url=URL, param=f"{at}[2].image_url"),
        Image(url=URL, param=f"{at}[3].image"),
        Image(data=b"\x89PNG\r\n\x1a\n", param=f"{at}[4].url"),
        Image(url=URL, param=f"{at}[5].image_url"),
        Text(text="And these?"),
    )
    assert (chat.stream, chat.options.include_usage, chat.metadata) == (True, True, {"a": "b"})
    assert chat.request == Request(
        model="org/model:hf-inference",
        messages=(
            Message(role="system", parts=(Text(text="Be brief."),)),
            Message(role="user", parts=parts),
            Message(role="assistant", parts=(Text(text="No."),)),
            Message(role="user", parts=(Text(text="Please."),)),
        ),
        parameters=Parameters.model_validate(
            SAMPLING | PENALTIES | {"max_new_tokens": 5, "stop": ("\n", "END")}
        ),
        named={"max_new_tokens": "max_tokens"},
    )


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        (dict.fromkeys(name for name in FULL if name != "messages"), {}),
        ({"max_retries": 2}, {}),
        ({"prompt_cache_key": "k", "verbosity": "medium"}, {}),
        ({"random_seed": 7}, {"seed": 7}),
        ({"stop": "END"}, {"stop": ["END"]}),
        ({"stop": ["END", ""]}, {"stop": ["END"]}),
    ],
)
def test_another_spelling_asks_the_same(said: dict[str, Any], meant: dict[str, Any]) -> None:
    one, other = (from_chat({"messages": ASK} | body).request for body in (said, meant))
    assert one.parameters == other.parameters


def test_final_assistant_message_is_continued_only_when_asked() -> None:
    messages = [*ASK, {"role": "assistant", "content": "It is"}]
    assert not from_chat({"messages": messages}).request.continue_final
    asked = {"messages": messages, "continue_final_message": True, "add_generation_prompt": False}
    assert from_chat(asked).request.continue_final


PART = "messages[0].content[0]"


def one_part(part: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": [part]}]}


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"tools": [{"type": "custom", "custom": {"name": "x"}}]}, "tools[0].type"),
        ({"tool_choice": {"type": "allowed_tools", "allowed_tools": {}}}, "tool_choice.type"),
        ({"add_generation_prompt": False}, "add_generation_prompt"),
        ({"messages": [{"role": "function", "content": "x", "name": "f"}]}, "messages[0].role"),
        ({"messages": [{"role": "assistant", "function_call": {"name": "f"}}]}, "messages[0].function_call"),
        (one_part({"type": "image", "path": "/etc/passwd"}), "messages[0].content[0].path"),
    ],
)
def test_what_would_change_the_answer_is_refused_never_ignored(change: dict[str, Any], param: str) -> None:
    assert refusal(from_chat, {"messages": ASK} | change) == ("unsupported_parameter", param)


@pytest.mark.parametrize(
    ("change", "code", "param"),
    [
        (one_part({"type": "image"}), "invalid_request", f"{PART}.image"),
        (one_part({"type": "image", "url": URL, "image": URL}), "invalid_request", PART),
        (
            one_part({"type": "image_url", "image_url": {"url": "/etc/passwd"}}),
            "invalid_image_url",
            f"{PART}.image_url.url",
        ),
        (one_part({"type": "text", "text": "a", "url": URL}), "unknown_field", f"{PART}.url"),
        ({"max_tokens": 1, "max_completion_tokens": 2}, "invalid_request", "max_completion_tokens"),
        ({"stop": [*"abcdefghijklmnopq"]}, "invalid_request", "stop"),
        ({"metadata": {"a": "x" * 513}}, "invalid_request", "metadata.a"),
        ({"continue_final_message": True}, "invalid_request", "continue_final_message"),
    ],
)
def test_wrong_field_is_named(change: dict[str, Any], code: str, param: str) -> None:
    assert refusal(from_chat, {"messages": ASK} | change) == (code, param)


def test_whatever_is_broken_is_named_and_never_a_server_error() -> None:
    assert len(refusals(from_chat, FULL, "max_completion_tokens", "messages[1].content[4].image")) > 500


def test_completion_is_what_openai_clients_read() -> None:
    assert_golden("chat_completion", to_completion(succeeded()))


def test_chunks_are_what_openai_clients_and_published_snippets_read() -> None:
    head = ChunkHead("chatcmpl-1", "org/model", 1_700_000_000)
    asked = ChunkHead("chatcmpl-1", "org/model", 1_700_000_000, include_usage=True, fingerprint="f")
    usage = Usage(prompt_tokens=70, completion_tokens=5, image_tokens=64, cached_tokens=66)
    chunks = [
        chat_chunk(head, 0, {"role": "assistant", "content": ""}),
        chat_chunk(head, 0, {"content": "A red"}),
        chat_chunk(head, 0, {"content": ""}, "length"),
        chat_chunk(asked, 0, {"content": ""}, "stop"),
        {**_envelope(asked, []), "usage": to_usage(usage)},
    ]
    assert_golden("chat_chunks", chunks)


@pytest.mark.parametrize("view", [QUEUED, succeeded()])
def test_a_stream_says_what_answered_as_soon_as_known(view: JobView) -> None:
    result = result_of(succeeded())
    stream = ChatChunkWriter(view, usage=True)
    said = stream.piece({"text": "A red"})
    assert [c["system_fingerprint"] for c in said] == [view.result and result.fingerprint]
    assert [c["system_fingerprint"] for c in stream.ending(result)] == [result.fingerprint] * 2


@pytest.mark.parametrize(("priority", "tier"), [("batch", "flex"), ("interactive", "priority")])
def test_a_caller_hears_which_tier_served_his_chat(priority: Priority, tier: str) -> None:
    view = replace(succeeded(), priority=priority)
    stream = ChatChunkWriter(view, usage=True)
    told = [to_completion(view), *stream.opening(1), *stream.ending(result_of(view))]
    assert {each["service_tier"] for each in told} == {tier}


def test_a_job_without_result_is_never_rendered_as_an_empty_answer() -> None:
    with pytest.raises(ValueError, match="has no result"):
        to_completion(QUEUED)


# What vLLM takes where nothing is said, and something else.
UNSAID: dict[str, Any] = {"bad_words": [], "best_of": 1, "echo": False, "include_stop_str_in_output": False}
UNSAID |= {"kv_transfer_params": None, "length_penalty": 1.0, "logits_processors": None}
UNSAID |= {"prompt_logprobs": None, "return_token_ids": False, "use_beam_search": False}
UNSAID |= {"add_special_tokens": False, "raw": False}
SAID: dict[str, Any] = {"bad_words": ["no"], "best_of": 2, "echo": True, "include_stop_str_in_output": True}
SAID |= {"kv_transfer_params": {"any": 1}, "length_penalty": 1.5, "logits_processors": ["any"]}
SAID |= {"prompt_logprobs": 1, "return_token_ids": True, "use_beam_search": True, "raw": True}


def test_defaults_of_vllms_parameters_ask_for_nothing() -> None:
    asked = {"messages": ASK}
    assert from_chat(asked | UNSAID) == from_chat(asked)


@pytest.mark.parametrize("name", SAID)
def test_vllms_parameters_are_refused_by_name(name: str) -> None:
    assert refusal(from_chat, {"messages": ASK, name: SAID[name]}) == ("unsupported_parameter", name)

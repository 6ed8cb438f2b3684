from typing import Any

import pytest

from api.dialects.openai.chat import ChunkHead, from_chat
from api.dialects.openai.completions import (
    _envelope,
    from_completion,
    text_chunk,
    to_text_completion,
)
from api.dialects.openai.usage import to_usage
from shared.request import Message, Parameters, Request, Text
from shared.result import Usage
from tests.support.golden import assert_golden
from tests.support.mutations import refusals
from tests.support.refusal import refusal
from tests.support.views import succeeded

FULL: dict[str, Any] = {
    "model": "org/model",
    "prompt": "Once",
    "max_tokens": 8,
    "temperature": 0.5,
    "do_sample": True,
    "stop_sequences": ["END"],
    "stream": True,
    "stream_options": {"include_usage": True},
    "n": 1,
    "best_of": 1,
    "echo": False,
    "logit_bias": {},
    "return_full_text": False,
    "user": "u",
}
VLLM: dict[str, tuple[Any, Any]] = {
    "bad_words": ([], ["no"]),
    "best_of": (1, 2),
    "echo": (False, True),
    "include_stop_str_in_output": (False, True),
    "kv_transfer_params": (None, {"do_remote_decode": True}),
    "length_penalty": (1.0, 1.5),
    "logits_processors": (None, ["any"]),
    "prompt_logprobs": (None, 1),
    "return_token_ids": (False, True),
    "use_beam_search": (False, True),
}
"""By name what vLLM takes where nothing is said, and something else."""


@pytest.mark.parametrize(("prompt", "at"), [("Once", "prompt"), (["Once"], "prompt[0]")])
def test_prompt_is_a_question_in_text(prompt: Any, at: str) -> None:
    call = from_completion(FULL | {"prompt": prompt})
    assert call.stream
    assert call.options.include_usage
    assert call.request == Request(
        model="org/model",
        messages=(Message(role="user", parts=(Text(text="Once"),)),),
        parameters=Parameters(max_new_tokens=8, temperature=0.5, do_sample=True, stop=("END",)),
        named={"messages": at, "max_new_tokens": "max_tokens", "stop": "stop_sequences"},
    )


def test_chunks_count_only_where_the_stream_counts_at_all() -> None:
    def counted(**said: Any) -> bool:
        return from_completion({"prompt": "Hi", "stream": True, "stream_options": said}).options.running_usage

    assert counted(include_usage=True, continuous_usage_stats=True)
    assert not counted(include_usage=True)
    assert not counted(continuous_usage_stats=True)


@pytest.mark.parametrize(
    ("change", "code", "param"),
    [
        ({"prompt": []}, "invalid_request", "prompt"),
        ({"prompt": [1, 2]}, "invalid_request", "prompt[0]"),
        ({"prompt": None}, "invalid_request", "prompt"),
        ({"echo": True}, "unsupported_parameter", "echo"),
        ({"best_of": 2}, "unsupported_parameter", "best_of"),
        ({"logprobs": 6}, "invalid_request", "logprobs"),
        ({"logprobs": True}, "invalid_request", "logprobs"),
        ({"top_logprobs": 1}, "unsupported_parameter", "top_logprobs"),
        ({"suffix": "end"}, "unsupported_parameter", "suffix"),
        ({"messages": [{"role": "user"}]}, "unsupported_parameter", "messages"),
    ],
)
def test_wrong_field_is_named(change: dict[str, Any], code: str, param: str) -> None:
    assert refusal(from_completion, FULL | change) == (code, param)


def test_no_broken_body_is_answered_with_a_server_error() -> None:
    found = refusals(from_completion, FULL)
    assert len(found) > 100
    assert all(len(error.param or "") <= 200 and len(error.message) <= 500 for error in found)


def test_answer_and_chunks_are_what_clients_read() -> None:
    head = ChunkHead("cmpl-1", "org/model", 1_700_000_000, include_usage=True)
    usage = Usage(prompt_tokens=3, completion_tokens=2)
    last = {**_envelope(head, []), "usage": to_usage(usage)}
    chunks = [text_chunk(head, 0, "upon"), text_chunk(head, 0, "", "stop"), last]
    assert_golden("text_completion", [to_text_completion(succeeded(), "org/model", 1_700_000_000), *chunks])


def test_what_vllms_parameters_say_by_default_asks_for_nothing() -> None:
    said = {name: default for name, (default, _) in VLLM.items()}
    text, chat = {"prompt": "Hi"}, {"messages": [{"role": "user", "content": "Hi"}]}
    assert from_completion({**text, **said, "add_special_tokens": True}) == from_completion(text)
    assert from_chat({**chat, **said, "add_special_tokens": False}) == from_chat(chat)


@pytest.mark.parametrize("name", VLLM)
def test_what_vllms_parameters_say_otherwise_is_refused_by_name(name: str) -> None:
    assert refusal(from_chat, {"messages": [{"role": "user", "content": "Hi"}], name: VLLM[name][1]}) == (
        "unsupported_parameter",
        name,
    )


def test_what_hugging_face_s_parameters_say_by_default_asks_for_nothing() -> None:
    said = {"best_of": 1, "decoder_input_details": False, "details": False, "return_full_text": False}
    tgi = {"top_n_tokens": 0, "watermark": False, "truncate": None, "adapter_id": None}
    assert from_completion({"prompt": "Hi", **said, **tgi}) == from_completion({"prompt": "Hi"})

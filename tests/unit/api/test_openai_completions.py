from typing import Any

import pytest

from api.dialects.openai.chat import ChunkHead, from_chat
from api.dialects.openai.completions import _envelope, from_completion, text_chunk, to_text_completion
from api.dialects.openai.usage import to_usage
from shared.request import Message, Parameters, Request, Text
from shared.result import Usage
from tests.support.golden import assert_golden
from tests.support.mutations import refusals
from tests.support.refusal import refusal
from tests.support.views import succeeded

IDLE = {"n": 1, "best_of": 1, "echo": False, "logit_bias": {}, "return_full_text": False, "user": "u"}
FULL: dict[str, Any] = {
    "model": "org/model",
    "prompt": "Once",
    "max_tokens": 8,
    "temperature": 0.5,
    "do_sample": True,
    "stop_sequences": ["END"],
    "stream": True,
    "stream_options": {"include_usage": True},
    **IDLE,
}
TEXT, CHAT = {"prompt": "Hi"}, {"messages": [{"role": "user", "content": "Hi"}]}
# What vLLM takes where nothing is said, and something else.
UNSAID: dict[str, Any] = {"bad_words": [], "best_of": 1, "echo": False, "include_stop_str_in_output": False}
UNSAID |= {"kv_transfer_params": None, "length_penalty": 1.0, "logits_processors": None}
UNSAID |= {"prompt_logprobs": None, "return_token_ids": False, "use_beam_search": False}
SAID: dict[str, Any] = {"bad_words": ["no"], "best_of": 2, "echo": True, "include_stop_str_in_output": True}
SAID |= {"kv_transfer_params": {"any": 1}, "length_penalty": 1.5, "logits_processors": ["any"]}
SAID |= {"prompt_logprobs": 1, "return_token_ids": True, "use_beam_search": True}
TGI = {"details": False, "decoder_input_details": False, "top_n_tokens": 0, "watermark": False}


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
        ({"prompt": [1, 2]}, "invalid_request", "prompt[0]"),
        ({"logprobs": 6}, "invalid_request", "logprobs"),
        ({"top_logprobs": 1}, "unsupported_parameter", "top_logprobs"),
        ({"messages": [{"role": "user"}]}, "unsupported_parameter", "messages"),
    ],
)
def test_wrong_field_is_named(change: dict[str, Any], code: str, param: str) -> None:
    assert refusal(from_completion, FULL | change) == (code, param)


def test_whatever_is_broken_is_named_and_never_a_server_error() -> None:
    assert len(refusals(from_completion, FULL | {"logprobs": 2})) > 100


def test_answer_and_chunks_are_what_clients_read() -> None:
    head = ChunkHead("cmpl-1", "org/model", 1_700_000_000, include_usage=True)
    usage = Usage(prompt_tokens=3, completion_tokens=2)
    last = {**_envelope(head, []), "usage": to_usage(usage)}
    chunks = [text_chunk(head, 0, "upon"), text_chunk(head, 0, "", "stop"), last]
    assert_golden("text_completion", [to_text_completion(succeeded(), "org/model", 1_700_000_000), *chunks])


def test_what_other_servers_parameters_say_by_default_asks_for_nothing() -> None:
    assert from_completion(TEXT | UNSAID | {"add_special_tokens": True}) == from_completion(TEXT)
    assert from_chat(CHAT | UNSAID | {"add_special_tokens": False}) == from_chat(CHAT)
    assert from_completion(TEXT | TGI | IDLE | {"adapter_id": None, "truncate": None}) == from_completion(
        TEXT
    )


@pytest.mark.parametrize("name", SAID)
def test_what_vllms_parameters_say_otherwise_is_refused_by_name(name: str) -> None:
    assert refusal(from_chat, CHAT | {name: SAID[name]}) == ("unsupported_parameter", name)

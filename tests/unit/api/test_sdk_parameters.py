"""Every parameter that the clients' own types name acts, asks for nothing, or is refused by its name."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, Literal

import pytest
from huggingface_hub import ChatCompletionInput, DocumentQuestionAnsweringParameters
from huggingface_hub import ImageToTextGenerationParameters as Captions
from huggingface_hub import TextGenerationInputGenerateParameters as Generation
from huggingface_hub import VisualQuestionAnsweringParameters as Questions
from openai.types import completion_create_params as texts
from openai.types.chat import completion_create_params as chats
from openai.types.responses import response_create_params as responses

from api.dialects.hf.task_requests import from_hf
from api.dialects.openai.chat import from_chat
from api.dialects.openai.completions import from_completion
from api.dialects.openai.responses import from_response
from shared.errors import CallerError
from tests.support.tools import CLOCK

TURN = {"role": "user", "content": "What?"}
PICTURE = "iVBORw0KGgo="
Deed = Literal["acts", "nothing", "refused"]
Body = dict[str, Any]


@dataclass(frozen=True)
class Tried:
    """What is sent under a name, what beside it, and what comes of it."""

    deed: Deed
    value: Any
    beside: Body


def acts(value: Any, **beside: Any) -> Tried:
    return Tried("acts", value, beside)


def nothing(value: Any, **beside: Any) -> Tried:
    """It is taken, and changes no answer: a name for somebody, a hint, what is so in any case."""
    return Tried("nothing", value, beside)


def refused(value: Any, **beside: Any) -> Tried:
    return Tried("refused", value, beside)


def told(value: Any) -> Tried:
    """It changes no answer, and stands in what is told of it."""
    return Tried("acts", value, {})


def of(types: Any) -> frozenset[str]:
    """The names in a client's own types: a class of fields, or a module with one of keys."""
    if is_dataclass(types):
        return frozenset(field.name for field in fields(types))
    base = next(getattr(types, name) for name in dir(types) if name.endswith("ParamsBase"))
    return frozenset(base.__annotations__)


SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}
COMMON = {
    "frequency_penalty": acts(0.5),
    "presence_penalty": acts(0.5),
    "temperature": acts(0.5),
    "top_p": acts(0.5),
    "seed": acts(7),
    "stop": acts(["END"]),
    "user": nothing("a person"),
}
CHAT = {
    name: COMMON[name]
    for name in ("frequency_penalty", "presence_penalty", "temperature", "top_p", "seed", "stop", "user")
} | {
    "messages": acts([{"role": "user", "content": "Who?"}]),
    "model": acts("other/model"),
    "audio": refused({"voice": "alloy", "format": "mp3"}),
    "function_call": refused({"name": "clock"}),
    "functions": refused([{"name": "clock"}]),
    "logit_bias": acts({"5": 1}),
    "logprobs": acts(True),
    "max_completion_tokens": acts(5),
    "max_tokens": acts(5),
    "metadata": acts({"order": "7"}),
    "modalities": refused(["text", "audio"]),
    "moderation": refused({"model": "any"}),
    "n": acts(2),
    "parallel_tool_calls": acts(False, tools=[CLOCK]),
    "prediction": nothing({"type": "content", "content": "A"}),
    "prompt_cache_key": nothing("mine"),
    "prompt_cache_options": nothing({"mode": "implicit"}),
    "prompt_cache_retention": nothing("24h"),
    "reasoning_effort": acts("high"),
    "response_format": acts({"type": "json_object"}),
    "safety_identifier": nothing("a person"),
    "service_tier": acts("flex"),
    "store": acts(False),
    "stream_options": acts({"include_usage": True}, stream=True),
    "tool_choice": acts("required", tools=[CLOCK]),
    "tools": acts([CLOCK]),
    "top_logprobs": acts(2, logprobs=True),
    "verbosity": nothing("low"),
    "web_search_options": refused({"search_context_size": "low"}),
}
TEXT = {name: COMMON[name] for name in COMMON} | {
    "model": acts("other/model"),
    "prompt": acts("Who?"),
    "best_of": refused(2),
    "echo": refused(True),
    "logit_bias": acts({"5": 1}),
    "logprobs": acts(2),
    "max_tokens": acts(5),
    "n": acts(2),
    "stream_options": acts({"include_usage": True}, stream=True),
    "suffix": refused("END"),
}
RESPONSES = {name: COMMON[name] for name in ("temperature", "top_p")} | {
    "access_programs": refused({"any": "one"}),
    "background": acts(True),
    "context_management": refused([{"type": "compaction"}]),
    "conversation": refused("conv_1"),
    "image": refused({"any": "one"}),
    "include": acts(["message.output_text.logprobs"]),
    "input": acts("Who?"),
    "instructions": acts("Be brief."),
    "max_output_tokens": acts(5),
    "max_tool_calls": told(2),
    "metadata": acts({"order": "7"}),
    "model": acts("other/model"),
    "moderation": refused({"model": "any"}),
    "parallel_tool_calls": acts(False, tools=[{"type": "function", **CLOCK["function"]}]),
    "previous_response_id": acts("resp_1"),
    "prompt": refused({"id": "pmpt_1"}),
    "prompt_cache_key": told("mine"),
    "prompt_cache_options": nothing({"mode": "implicit"}),
    "prompt_cache_retention": nothing("24h"),
    "reasoning": acts({"effort": "high"}),
    "safety_identifier": told("a person"),
    "service_tier": acts("flex"),
    "store": acts(False),
    "stream_options": nothing({"include_obfuscation": False}, stream=True),
    "text": acts({"format": {"type": "json_schema", "name": "a", "schema": SCHEMA}}),
    "tool_choice": acts("required", tools=[{"type": "function", **CLOCK["function"]}]),
    "tools": acts([{"type": "function", **CLOCK["function"]}]),
    "top_logprobs": acts(2, include=["message.output_text.logprobs"]),
    "truncation": nothing("auto"),
    "user": told("a person"),
}
OTHERS = ("logit_bias", "messages", "stream", "tool_prompt")
HF_CHAT = {name: CHAT[name] for name in sorted(of(ChatCompletionInput)) if name not in OTHERS} | {
    "logit_bias": refused([0.5]),
    "messages": acts([{"role": "user", "content": "Who?"}]),
    "stream": acts(True),
    "tool_prompt": refused("Call."),
}
CAPTIONS = {
    "do_sample": acts(True),
    "early_stopping": nothing(True),
    "epsilon_cutoff": refused(0.5),
    "eta_cutoff": refused(0.5),
    "max_length": refused(20),
    "max_new_tokens": acts(5),
    "min_length": refused(5),
    "min_new_tokens": acts(5),
    "num_beam_groups": refused(2),
    "num_beams": refused(2),
    "penalty_alpha": refused(0.5),
    "temperature": acts(0.5),
    "top_k": acts(5),
    "top_p": acts(0.5),
    "typical_p": acts(0.5),
    "use_cache": nothing(False),
}
GENERATION = {
    "adapter_id": refused("mine"),
    "best_of": refused(2),
    "decoder_input_details": refused(True),
    "details": acts(True),
    "do_sample": acts(True),
    "frequency_penalty": acts(0.5),
    "grammar": acts({"type": "regex", "value": "a+"}),
    "max_new_tokens": acts(5),
    "repetition_penalty": acts(1.5),
    "return_full_text": acts(True),
    "seed": acts(7),
    "stop": acts(["END"]),
    "temperature": acts(0.5),
    "top_k": acts(5),
    "top_n_tokens": refused(2),
    "top_p": acts(0.5),
    "truncate": refused(5),
    "typical_p": acts(0.5),
    "watermark": refused(True),
}
JS_GENERATION = GENERATION | {"details": nothing(True), "return_full_text": refused(True)}
"""huggingface.js sends the same names to OpenAI's route, whose answer has no place for these two."""
QUESTIONS = {"top_k": acts(2)}
DOCUMENTS = {
    "doc_stride": nothing(5),
    "handle_impossible_answer": refused(True),
    "lang": nothing("de"),
    "max_answer_len": refused(5),
    "max_question_len": nothing(5),
    "max_seq_len": nothing(5),
    "top_k": acts(2),
    "word_boxes": refused([["a", [0, 0, 1, 1]]]),
}


@dataclass(frozen=True)
class Family:
    """`names` are those of the client's own types; `at` is where its parameters stand."""

    names: frozenset[str]
    tried: Mapping[str, Tried]
    read: Callable[[Body], Any]
    base: Body
    at: str = ""


def task(inputs: Any, parameters: type, tried: Mapping[str, Tried], at: str = "parameters") -> Family:
    return Family(of(parameters), tried, lambda body: from_hf(body), {"inputs": inputs}, at)


ASKED = {"image": PICTURE, "question": "What?"}
FAMILIES = {
    "chats": Family(of(chats), CHAT, from_chat, {"messages": [TURN]}),
    "texts": Family(of(texts), TEXT, from_completion, {"prompt": "What?"}),
    "responses": Family(of(responses), RESPONSES, from_response, {"input": "What?"}),
    "hf chats": Family(
        frozenset(field.name for field in fields(ChatCompletionInput)),
        HF_CHAT,
        from_chat,
        {"messages": [TURN]},
    ),
    "captions": task(PICTURE, Captions, CAPTIONS, "parameters.generation_parameters"),
    "generation": task("What?", Generation, GENERATION),
    "generation in JavaScript": Family(of(Generation), JS_GENERATION, from_completion, {"prompt": "What?"}),
    "questions": task(ASKED, Questions, QUESTIONS),
    "documents": task(ASKED, DocumentQuestionAnsweringParameters, DOCUMENTS),
}
TRIED = [(family, name) for family, found in FAMILIES.items() for name in found.tried]


@pytest.mark.parametrize("family", FAMILIES)
def test_no_parameter_of_the_client_is_forgotten(family: str) -> None:
    assert FAMILIES[family].tried.keys() == FAMILIES[family].names


@pytest.mark.parametrize(("family", "name"), TRIED)
def test_a_parameter_acts_or_is_refused_by_its_name(family: str, name: str) -> None:
    found = FAMILIES[family]
    tried = found.tried[name]
    if tried.deed == "refused":
        with pytest.raises(CallerError) as error:
            found.read(sent(found, {**tried.beside, name: tried.value}))
        where = f"{found.at}.{name}" if found.at else name
        assert error.value.code == "unsupported_parameter"
        assert str(error.value.param).startswith(where)
        assert f"`{error.value.param}`" in error.value.message
        return
    without = meant(found.read(sent(found, tried.beside)))
    assert (meant(found.read(sent(found, {**tried.beside, name: tried.value}))) != without) == (
        tried.deed == "acts"
    )


def sent(family: Family, said: Body) -> Body:
    for step in reversed(family.at.split(".") if family.at else []):
        said = {step: said}
    return {**family.base, **said}


def meant(call: Any) -> Any:
    """What a call asks for, without the places in the caller's own body."""
    request = call.request.model_dump(mode="json", exclude={"named"})
    return request, {**vars(call), "request": None}

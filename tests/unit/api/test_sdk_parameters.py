"""Every parameter that the clients' own types name acts, asks for nothing, or is refused by its name."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, Literal

import pytest
from huggingface_hub import ChatCompletionInput, DocumentQuestionAnsweringParameters
from huggingface_hub import ImageToTextGenerationParameters as Captions
from huggingface_hub import TextGenerationInputGenerateParameters as Generation
from huggingface_hub import VisualQuestionAnsweringParameters as Questions
from openai.types.chat import completion_create_params as chats
from openai.types.responses import response_create_params as responses

from api.dialects.hf.task_requests import from_hf
from api.dialects.openai.chat import from_chat
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
    beside: Body = field(default_factory=dict)


def acts(**values: Any) -> dict[str, Tried]:
    """It changes an answer, or stands in what is told of it."""
    return {name: Tried("acts", value) for name, value in values.items()}


def beside(said: Body, **values: Any) -> dict[str, Tried]:
    """It acts where this is said too."""
    return {name: Tried("acts", value, said) for name, value in values.items()}


def nothing(**values: Any) -> dict[str, Tried]:
    """It is taken, and changes no answer: a name for somebody, a hint, what is so in any case."""
    return {name: Tried("nothing", value) for name, value in values.items()}


def refused(**values: Any) -> dict[str, Tried]:
    return {name: Tried("refused", value) for name, value in values.items()}


def of(types: Any) -> frozenset[str]:
    """The names in a client's own types: a class of fields, or a module with one of keys."""
    if is_dataclass(types):
        return frozenset(field.name for field in fields(types))
    base = next(getattr(types, name) for name in dir(types) if name.endswith("ParamsBase"))
    return frozenset(base.__annotations__)


SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}
FLAT = {"type": "function", **CLOCK["function"]}
SAMPLING = acts(temperature=0.5, top_p=0.5)
COMMON = SAMPLING | acts(frequency_penalty=0.5, presence_penalty=0.5, seed=7, stop=["END"], max_tokens=5)
COMMON |= acts(model="other/model", n=2, logit_bias={"5": 1}) | nothing(user="a person")
COMMON |= beside({"stream": True}, stream_options={"include_usage": True})
HINTS = nothing(prompt_cache_options={"mode": "implicit"}, prompt_cache_retention="24h")
CHAT = {
    **COMMON,
    **HINTS,
    **acts(messages=[{"role": "user", "content": "Who?"}], max_completion_tokens=5, metadata={"order": "7"}),
    **acts(
        reasoning_effort="high", response_format={"type": "json_object"}, service_tier="flex", store=False
    ),
    **acts(tools=[CLOCK], logprobs=True),
    **beside({"tools": [CLOCK]}, parallel_tool_calls=False, tool_choice="required"),
    **beside({"logprobs": True}, top_logprobs=2),
    **nothing(prediction={"type": "content", "content": "A"}, prompt_cache_key="mine", verbosity="low"),
    **nothing(safety_identifier="a person"),
    **refused(function_call={"name": "clock"}, functions=[{"name": "clock"}], moderation={"model": "any"}),
    **refused(audio={"voice": "alloy", "format": "mp3"}, modalities=["text", "audio"]),
    **refused(web_search_options={"search_context_size": "low"}),
}
RESPONSES = {
    **SAMPLING,
    **HINTS,
    **acts(input="Who?", model="other/model", instructions="Be brief.", max_output_tokens=5, store=False),
    **acts(background=True, previous_response_id="resp_1", metadata={"order": "7"}, service_tier="flex"),
    **acts(
        text={"format": {"type": "json_schema", "name": "a", "schema": SCHEMA}}, reasoning={"effort": "high"}
    ),
    **acts(max_tool_calls=2, prompt_cache_key="mine", safety_identifier="a person", user="a person"),
    **acts(tools=[FLAT], include=["message.output_text.logprobs"]),
    **beside({"tools": [FLAT]}, parallel_tool_calls=False, tool_choice="required"),
    **beside({"include": ["message.output_text.logprobs"]}, top_logprobs=2),
    "stream_options": Tried("nothing", {"include_obfuscation": False}, {"stream": True}),
    **nothing(truncation="auto"),
    **refused(access_programs={"any": "one"}, image={"any": "one"}, moderation={"model": "any"}),
    **refused(context_management=[{"type": "compaction"}], conversation="conv_1", prompt={"id": "pmpt_1"}),
}
HF_CHAT = {name: CHAT[name] for name in sorted(of(ChatCompletionInput)) if name in CHAT}
HF_CHAT |= acts(stream=True) | refused(logit_bias=[0.5], tool_prompt="Call.")
DRAWN = SAMPLING | acts(do_sample=True, max_new_tokens=5, top_k=5, typical_p=0.5)
CAPTIONS = {
    **DRAWN,
    **acts(min_new_tokens=5),
    **nothing(early_stopping=True, use_cache=False),
    **refused(
        epsilon_cutoff=0.5, eta_cutoff=0.5, max_length=20, min_length=5, num_beam_groups=2, num_beams=2
    ),
    **refused(penalty_alpha=0.5),
}
GENERATION = {
    **DRAWN,
    **acts(details=True, frequency_penalty=0.5, grammar={"type": "regex", "value": "a+"}, stop=["END"]),
    **acts(repetition_penalty=1.5, return_full_text=True, seed=7),
    **refused(
        adapter_id="mine", best_of=2, decoder_input_details=True, top_n_tokens=2, truncate=5, watermark=True
    ),
}
QUESTIONS = acts(top_k=2)
DOCUMENTS = {
    **QUESTIONS,
    **nothing(doc_stride=5, lang="de", max_question_len=5, max_seq_len=5),
    **refused(handle_impossible_answer=True, max_answer_len=5, word_boxes=[["a", [0, 0, 1, 1]]]),
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
    "responses": Family(of(responses), RESPONSES, from_response, {"input": "What?"}),
    "hf chats": Family(of(ChatCompletionInput), HF_CHAT, from_chat, {"messages": [TURN]}),
    "captions": task(PICTURE, Captions, CAPTIONS, "parameters.generation_parameters"),
    "generation": task("What?", Generation, GENERATION),
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
    with_it = sent(found, {**tried.beside, name: tried.value})
    if tried.deed == "refused":
        with pytest.raises(CallerError) as error:
            found.read(with_it)
        assert error.value.code == "unsupported_parameter"
        assert str(error.value.param).startswith(f"{found.at}.{name}" if found.at else name)
        assert f"`{error.value.param}`" in error.value.message
    else:
        changes = meant(found.read(with_it)) != meant(found.read(sent(found, tried.beside)))
        assert changes == (tried.deed == "acts")


def sent(family: Family, said: Body) -> Body:
    for step in reversed(family.at.split(".") if family.at else []):
        said = {step: said}
    return {**family.base, **said}


def meant(call: Any) -> Any:
    """What a call asks for, without the places in the caller's own body."""
    request = call.request.model_dump(mode="json", exclude={"named"})
    return request, {**vars(call), "request": None}

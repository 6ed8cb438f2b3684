"""Variables of a model's chat template, from what a caller writes to what the model reads."""

from typing import Any

import pytest
from transformers import AutoConfig

from api.dialects.native.job_requests import from_job
from api.dialects.openai.chat import from_chat
from shared.cache_key import request_hash
from shared.errors import CallerError
from shared.models import Model
from shared.request import Request
from tests.support.refusal import refusal
from tests.unit.worker.test_renderer import TINY, processor, text_of
from worker.engines.prompt.renderer import Renderer

__all__ = ["processor"]
MESSAGES = [{"role": "user", "content": "Why?"}]
TEMPLATE = (
    "{% for turn in messages %}<|user|>{{ turn.content }}<|end|>{% endfor %}<|assistant|>"
    "{% if enable_thinking is defined and enable_thinking is false %}no thoughts{% endif %}"
    "{{ effort }}{{ bos_token }}"
)


def asked(given: Any) -> Request:
    return from_chat({"messages": MESSAGES, "chat_template_kwargs": given}).request


def read(processor: Any, request: Request, defaults: dict[str, Any] | None = None) -> str:
    renderer = Renderer(processor, AutoConfig.from_pretrained(TINY), 2048, defaults)
    renderer.template.source = TEMPLATE
    return text_of(processor, renderer.prompt(request, [])).partition("<|assistant|>")[2]


def test_a_caller_switches_thinking_off(processor: Any) -> None:
    assert read(processor, asked({"enable_thinking": False})) == "no thoughts"
    assert read(processor, asked({"enable_thinking": True})) == ""
    assert read(processor, asked({"effort": "low 2.5"})) == "low 2.5"


def test_an_operator_switches_thinking_off_and_a_caller_on_again(processor: Any) -> None:
    off = {"enable_thinking": False, "effort": "low"}
    assert read(processor, asked(None), off) == "no thoughtslow"
    assert read(processor, asked({"enable_thinking": True}), off) == "low"


def test_a_variable_that_a_template_does_not_read_reaches_no_processor(processor: Any) -> None:
    assert read(processor, asked({"padding": "max_length", "truncation": True})) == ""


def test_equal_wishes_have_one_hash_and_different_ones_have_two() -> None:
    first = request_hash(asked({"a": 1, "b": False}), "main")
    assert first == request_hash(asked({"b": False, "c": None, "a": 1}), "main")
    assert first != request_hash(asked({"a": 1, "b": True}), "main")
    assert request_hash(asked({}), "main") == request_hash(asked(None), "main")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, "x") for name in ("messages", "bos_token")),
        *((name, False) for name in ("add_generation_prompt", "tokenize", "return_dict")),
        *(("times", number) for number in (10**6 + 1, -1e7)),
        *(("processor_kwargs", 1), ("a name", 1)),
        *(("effort", value) for value in ("<|end|>", "low\n", "x" * 65, ["low"], {"is": "low"})),
    ],
)
def test_what_could_forge_a_turn_is_refused_by_name(name: str, value: Any) -> None:
    assert refusal(asked, {name: value}) == ("invalid_request", f"chat_template_kwargs.{name}")
    job = {"messages": MESSAGES, "parameters": {"chat_template_kwargs": {name: value}}}
    assert refusal(from_job, job) == ("invalid_request", f"parameters.chat_template_kwargs.{name}")
    assert refusal(asked, {f"v{number}": True for number in range(17)})[1] == "chat_template_kwargs"


@pytest.mark.parametrize(
    ("breaking", "value"),
    [("{{ 10 // n }}", 0), ("{{ 'x' + n }}", 1), ("{{ range(n) | list }}", 10**6), ("{{ n ** n }}", 1e5)],
)
def test_a_variable_that_breaks_a_template_is_refused(processor: Any, breaking: str, value: float) -> None:
    config = AutoConfig.from_pretrained(TINY)
    renderer = Renderer(processor, config, 2048)
    renderer.template.source = "{% for turn in messages %}{{ turn.content }}{% endfor %}" + breaking
    assert refusal(renderer.prompt, asked({"n": value}), []) == ("invalid_request", "chat_template_kwargs")
    own = Renderer(processor, config, 2048, {"n": value})
    own.template.source = renderer.template.source
    with pytest.raises(CallerError):
        own.template.check_defaults()


@pytest.mark.parametrize(
    "given", [{"messages": "x"}, {"bos_token": "x"}, {"effort": "<|end|>"}, {"a": ["b"]}]
)
def test_a_row_of_the_models_file_sets_no_more_than_a_caller_may(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="chat_template_kwargs"):
        Model.model_validate({"id": "m", "engine": "echo", "chat_template_kwargs": given})


THINKING = (
    "{% for turn in messages %}<|user|>{{ turn.content }}<|end|>{% endfor %}{% if add_generation_prompt %}"
    "<|assistant|>{% if enable_thinking is defined %}<think>\n"
    "{% if not enable_thinking %}\n</think>\n\n{% endif %}{% endif %}{% endif %}"
)


@pytest.mark.parametrize(
    ("wanted", "syntax"),
    [
        ({}, " <think> </think>"),
        ({"enable_thinking": True}, "  </think>"),
        ({"enable_thinking": False}, None),
        ({"include_reasoning": False}, " <think> </think> untold"),
    ],
)
def test_thoughts_are_read_from_where_the_template_begins_them(
    processor: Any, wanted: dict[str, Any], syntax: str | None
) -> None:
    renderer = Renderer(processor, AutoConfig.from_pretrained(TINY), 2048, reasoning=("<think>", "</think>"))
    renderer.template.source = THINKING
    request = from_chat({"messages": MESSAGES, **wanted}).request
    assert renderer.prompt(request, []).syntax == syntax
    begun = {"role": "assistant", "content": "<think>It is"}
    turns = {"messages": [*MESSAGES, begun], "continue_final_message": True}
    assert renderer.template.syntax_of(from_chat(turns).request) == "  </think>"

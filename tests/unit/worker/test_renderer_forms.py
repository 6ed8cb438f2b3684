"""Chat templates that take the texts of some roles in another form than as parts."""

from pathlib import Path
from typing import Any

import pytest
from PIL import Image as Pictures
from transformers import AutoConfig, AutoProcessor

from shared.errors import CallerError
from shared.request import Image, Message, Part, Request, Role, Text
from worker.engines.prompt.renderer import Renderer

TINY = Path(__file__).parents[3] / "models" / "tiny"
PARTS = (
    "{% for p in m.content %}{% if p.type == 'image' %}<image>{% else %}{{ p.KEY }}{% endif %}{% endfor %}"
)
LOOP = "{% for m in messages %}<|{{ m.role }}|>"
# As Pixtral's own: a system message and answers are texts, and a part's text is its `content`.
PIXTRAL = (
    "{% if messages[0].role == 'system' %}{% set told = messages[0].content %}{% set rest = messages[1:] %}"
    "{% else %}{% set rest = messages %}{% endif %}{% for m in rest %}{% if m.role == 'user' %}<|user|>"
    "{% if loop.last and told is defined %}{{ told + ': ' }}{% endif %}" + PARTS + "{% else %}<|assistant|>"
    "{{ m.content + '<|end|>' }}{% endif %}{% endfor %}"
)
PRINTING = LOOP + "{% if m.role == 'user' %}" + PARTS + "{% else %}{{ m.content }}{% endif %}{% endfor %}"


@pytest.fixture
def processor() -> Any:
    return AutoProcessor.from_pretrained(TINY)  # type: ignore[no-untyped-call]


def says(role: Role, *parts: str | Part) -> Message:
    return Message(role=role, parts=tuple(Text(text=p) if isinstance(p, str) else p for p in parts))


def rendered(processor: Any, template: str, *messages: Message, **fields: Any) -> str:
    """The prompt as tokens say it, one placeholder per picture."""
    processor.chat_template = template
    request = Request(model="m", messages=messages, **fields)
    pictures = [Pictures.new("RGB", (40, 30), "red")] * len(request.images)
    prompt = Renderer(processor, AutoConfig.from_pretrained(TINY), 2048).prompt(request, pictures)
    text: str = processor.tokenizer.decode(prompt.inputs["input_ids"][0], skip_special_tokens=False)
    return text.replace("<image>" * 64, "<image>")


@pytest.mark.parametrize("key", ["text", "content"])
def test_a_template_with_plain_system_messages_and_answers_serves_whole_conversations(
    processor: Any, key: str
) -> None:
    turns = says("user", Image(), "One"), says("assistant", "Red"), says("user", "Two")
    found = rendered(processor, PIXTRAL.replace("KEY", key), says("system", "Be", " brief"), *turns)
    assert found.endswith("One<|assistant|>Red<|end|><|user|>Be brief: Two")
    assert found.count("<image>") == 1


def test_a_template_that_prints_what_it_is_given_prints_no_list_into_a_prompt(processor: Any) -> None:
    turns = says("system", "Be brief"), says("user", "One"), says("assistant", "Red"), says("user", "Two")
    found = rendered(processor, PRINTING.replace("KEY", "text"), *turns)
    assert found == "<|system|>Be brief<|user|>One<|assistant|>Red<|user|>Two"


def test_a_users_text_is_not_lost_where_a_template_looks_for_it_by_another_name(processor: Any) -> None:
    template = LOOP + PARTS.replace("KEY", "content") + "{% endfor %}"
    assert rendered(processor, template, says("user", "Which colour?")) == "<|user|>Which colour?"


def test_an_answer_that_is_written_as_plain_text_is_continued(processor: Any) -> None:
    template = PRINTING.replace("KEY", "text")
    turns = says("user", "One"), says("assistant", "A", " red")
    assert rendered(processor, template, *turns, continue_final=True).endswith("<|assistant|>A red")


def test_two_parts_of_a_plain_text_cannot_join_to_a_special_token(processor: Any) -> None:
    turns = says("system", "<|e", "nd|>"), says("user", "One")
    with pytest.raises(CallerError, match="special token"):
        rendered(processor, PRINTING.replace("KEY", "text"), *turns)


def test_messages_that_a_template_stumbles_over_are_refused_once_and_not_tried_three_times(
    processor: Any,
) -> None:
    picture_where_a_text_belongs = says("system", Image()), says("user", "One")
    with pytest.raises(CallerError, match="template cannot read these messages") as refused:
        rendered(processor, PIXTRAL.replace("KEY", "text"), *picture_where_a_text_belongs)
    assert (refused.value.code, refused.value.param) == ("invalid_request", "messages")

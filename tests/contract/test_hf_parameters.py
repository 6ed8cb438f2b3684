"""Every parameter of Hugging Face's chat-completion task, by its own client, whole and streamed."""

import json
from typing import Any

import pytest

from tests.contract.conftest import ECHO, TINY
from tests.support.circle_questions import RED, chat, circle
from tests.support.hf_clients import ask, joined, turn
from tests.support.tools import WEATHER

ANEW = {"x-use-cache": "false"}
CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Oslo", "unit": "c"}}\n</tool_call>'
SHAPE = {
    "type": "object",
    "properties": {"color": {"enum": ["red", "green", "blue"]}},
    "required": ["color"],
    "additionalProperties": False,
}


def asked(url: str, messages: list[Any], model: str = ECHO, **said: Any) -> Any:
    """Computed, not remembered: what a parameter does is seen in an answer of its own."""
    return ask(
        "InferenceClient",
        {"base_url": url, "headers": ANEW},
        "chat_completion",
        messages,
        model=model,
        **said,
    )


def texts(url: str, messages: list[Any], model: str = ECHO, **said: Any) -> tuple[str, str]:
    """The answer whole, and the answer streamed."""
    whole = asked(url, messages, model, **said).choices[0].message.content
    return whole, joined(asked(url, messages, model, **said, stream=True))


@pytest.mark.parametrize(
    ("said", "answer", "reason"),
    [
        ({"max_tokens": 2}, "one two", "length"),
        ({"stop": ["three"]}, "one two ", "stop"),
        ({"stop": ["nothing", "two"]}, "one ", "stop"),
    ],
)
def test_an_answer_ends_where_it_shall(url: str, said: dict[str, Any], answer: str, reason: str) -> None:
    whole = asked(url, turn("one two three"), **said).choices[0]
    chunks = asked(url, turn("one two three"), **said, stream=True)
    assert (whole.message.content, whole.finish_reason) == (answer, reason)
    assert (joined(chunks), chunks[-1].choices[0].finish_reason) == (answer, reason)


def test_logprobs_name_the_likeliest_tokens_of_every_place(url: str) -> None:
    said: dict[str, Any] = {"logprobs": True, "top_logprobs": 2}
    [whole] = asked(url, chat(circle(RED)), TINY, **said).choices
    chunks = asked(url, chat(circle(RED)), TINY, **said, stream=True)
    told = [t for c in chunks if c.choices[0].logprobs for t in c.choices[0].logprobs.content]
    assert "".join(t.token for t in whole.logprobs.content) == whole.message.content
    assert [t.token for t in told] == [t.token for t in whole.logprobs.content]
    assert {len(t.top_logprobs) for t in whole.logprobs.content + told} == {2}
    assert all(t.top_logprobs[0].token == t.token and t.logprob <= 0 for t in told)


@pytest.mark.parametrize(
    "response_format",
    [
        {"type": "json", "value": SHAPE},
        {"type": "json_object", "value": SHAPE},
        {"type": "json_schema", "json_schema": {"name": "seen", "schema": SHAPE, "strict": True}},
        {"type": "regex", "value": r'\{"color": "(red|green|blue)"\}'},
    ],
    ids=lambda found: found["type"],
)
def test_an_answer_has_the_format_that_was_asked_for(url: str, response_format: dict[str, Any]) -> None:
    for text in texts(url, chat(circle(RED)), TINY, response_format=response_format):
        assert json.loads(text)["color"] in ("red", "green", "blue")


@pytest.mark.parametrize("choice", ["auto", None])
def test_a_function_is_called_whole_and_streamed(url: str, choice: str | None) -> None:
    said: dict[str, Any] = {"tools": [WEATHER], "tool_choice": choice}
    [whole] = asked(url, turn(CALL), **said).choices
    chunks = asked(url, turn(CALL), **said, stream=True)
    [streamed] = [call for c in chunks for call in c.choices[0].delta.tool_calls or ()]
    [call] = whole.message.tool_calls
    assert call.function.name == streamed.function.name == "weather"
    assert json.loads(call.function.arguments) == json.loads(streamed.function.arguments)
    assert whole.finish_reason == chunks[-1].choices[0].finish_reason == "tool_calls"

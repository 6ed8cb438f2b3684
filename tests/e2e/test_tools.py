"""Functions over real processes: what workers say of their models, and a call in a stream."""

from typing import Any

import openai
import pytest

from tests.e2e.conftest import ECHO, TINY
from tests.e2e.test_answers import openai_client
from tests.support.service import Service
from tests.support.tools import WEATHER

CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Oslo", "unit": "c"}}\n</tool_call>'
TURNS: list[Any] = [{"role": "user", "content": CALL}]
TOOLS: list[Any] = [WEATHER]


def test_a_model_calls_and_answers_what_the_call_gave(service: Service) -> None:
    with openai_client(service) as client:
        with client.chat.completions.stream(model=ECHO, messages=TURNS, tools=TOOLS) as stream:
            said = stream.get_final_completion().choices[0]
        [call] = said.message.tool_calls or []
        given = {"role": "tool", "tool_call_id": call.id, "content": "Rain."}
        turns = [*TURNS, said.message.model_dump(exclude_none=True), given]
        answer = client.chat.completions.create(model=ECHO, messages=turns, tools=TOOLS).choices[0]
    assert (call.function.name, call.function.arguments) == ("weather", '{"city": "Oslo", "unit": "c"}')
    assert said.finish_reason == "tool_calls"
    assert (answer.message.content, answer.message.tool_calls, answer.finish_reason) == (
        "Rain.",
        None,
        "stop",
    )


def test_a_model_whose_template_shows_no_functions_says_so(service: Service) -> None:
    with (
        openai_client(service) as client,
        pytest.raises(openai.BadRequestError, match=f"{TINY} takes no functions"),
    ):
        client.chat.completions.create(model=TINY, messages=TURNS, tools=TOOLS)

"""Functions through OpenAI's doors: its clients call them, whole and in pieces."""

import json
from typing import Any

import pytest

from tests.contract.conftest import ECHO, TINY
from tests.support.node import Node
from tests.support.openai_clients import JS
from tests.support.tools import WEATHER

CALLED = '{"name": "weather", "arguments": {"city": "Oslo", "unit": "c"}}'
# What the echoing model writes: words, then a call in the form that it was shown.
WROTE = f"Let me look. <tool_call> {CALLED} </tool_call>"
ARGUMENTS = '{"city": "Oslo", "unit": "c"}'
TURNS: list[Any] = [{"role": "user", "content": WROTE}]
CHAT: dict[str, Any] = {"model": ECHO, "messages": TURNS, "tools": [WEATHER]}


def test_what_a_call_gave_is_sent_back_and_answered(client: Any) -> None:
    message = client.chat.completions.create(**CHAT).choices[0].message
    [call] = message.tool_calls
    given = {"role": "tool", "tool_call_id": call.id, "content": "Rain."}
    [answer] = client.chat.completions.create(**CHAT | {"messages": [*TURNS, message, given]}).choices
    assert (answer.message.content, answer.message.tool_calls) == ("Rain.", None)


def test_the_calls_of_a_response_are_answered_and_told_in_its_stream(client: Any) -> None:
    tools: list[Any] = [{"type": "function", **WEATHER["function"]}]
    first = client.responses.create(model=ECHO, input=WROTE, tools=tools)
    [call] = [item for item in first.output if item.type == "function_call"]
    given = {"type": "function_call_output", "call_id": call.call_id, "output": "Rain."}
    second = client.responses.create(model=ECHO, input=[given], tools=tools, previous_response_id=first.id)
    with client.responses.stream(model=ECHO, input=WROTE, tools=tools) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_response()
    assert (first.output_text.rstrip(), second.output_text) == ("Let me look.", "Rain.")
    assert "response.function_call_arguments.done" in kinds
    assert [item.type for item in final.output] == ["message", "function_call"]


def test_a_model_without_functions_fills_the_one_that_has_to_be_called(client: Any) -> None:
    round_ = {"type": "object", "properties": {"round": {"type": "boolean"}}, "required": ["round"]}
    see: dict[str, Any] = {"name": "see", "parameters": round_}
    chat = CHAT | {"model": TINY, "tools": [{"type": "function", "function": see}]}
    named = {"type": "function", "function": {"name": "see"}}
    [answer] = client.chat.completions.create(**chat, tool_choice=named).choices
    [call] = answer.message.tool_calls
    assert (answer.finish_reason, call.function.name) == ("tool_calls", "see")
    assert json.loads(call.function.arguments)["round"] in (True, False)
    tools: list[Any] = [{"type": "function", **see}]
    response = client.responses.create(model=TINY, input="Hi", tools=tools, tool_choice="required")
    assert [item.type for item in response.output] == ["function_call"]


@pytest.mark.parametrize("parameters", [{"type": "object", "properties": {}}, None])
@pytest.mark.parametrize("named", [True, False])
def test_a_function_without_parameters_gets_no_arguments(client: Any, parameters: Any, named: bool) -> None:
    now: dict[str, Any] = {"name": "now"} | ({"parameters": parameters} if parameters else {})
    one = {"type": "function", "function": {"name": "now"}}
    chat = CHAT | {"model": TINY, "tools": [{"type": "function", "function": now}], "max_tokens": 100}
    chat["tool_choice"] = one if named else "required"
    [answer] = client.chat.completions.create(**chat).choices
    assert {call.function.arguments for call in answer.message.tool_calls} == {"{}"}
    with client.chat.completions.stream(**chat) as stream:
        [streamed] = stream.get_final_completion().choices
    assert {call.function.arguments for call in streamed.message.tool_calls} == {"{}"}
    tools: list[Any] = [{"type": "function", **now}]
    choice: Any = {"type": "function", "name": "now"} if named else "required"
    response = client.responses.create(
        model=TINY, input="Hi", tools=tools, tool_choice=choice, max_output_tokens=100
    )
    assert {item.arguments for item in response.output} == {"{}"}


def test_an_object_without_properties_is_empty(client: Any) -> None:
    nothing = {"type": "object", "properties": {}}
    schema = {"type": "object", "properties": {"a": nothing}, "required": ["a"]}
    form: Any = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    [answer] = client.chat.completions.create(model=TINY, messages=TURNS, response_format=form).choices
    assert json.loads(answer.message.content) == {"a": {}}


CALLS_JS = """
const asked = { model, messages: [{ role: "user", content: wrote }], tools: [weather] };
const { message, finish_reason } = (await client.chat.completions.create(asked)).choices[0];
const [call] = message.tool_calls;
const given = { role: "tool", tool_call_id: call.id, content: "Rain." };
const turns = { messages: [...asked.messages, message, given] };
const answer = (await client.chat.completions.create({ ...asked, ...turns })).choices[0].message.content;
const gathered = await client.chat.completions.stream(asked).finalMessage();
let told = 0;
function tell({ city }) {
  told += 1;
  return `${city}: rain.`;
}
const run = await client.chat.completions.runTools({
  ...asked,
  tools: [{ type: "function", function: { ...weather.function, parse: JSON.parse, function: tell } }],
}).finalContent();
const tools = [{ type: "function", ...weather.function }];
const response = await client.responses.create({ model, input: wrote, tools });
const item = response.output.find(({ type }) => type === "function_call");
const output = [{ type: "function_call_output", call_id: item.call_id, output: "Rain." }];
const previous = { previous_response_id: response.id };
const next = await client.responses.create({ model, input: output, tools, ...previous });
return {
  call: [call.function.name, call.function.arguments, finish_reason], answer,
  gathered: gathered.tool_calls[0].function.arguments, run: [told, run], next: next.output_text,
};
"""


@pytest.mark.node
def test_javascript_calls_and_answers_what_the_call_gave(url: str, node: Node) -> None:
    assert node.run(JS + CALLS_JS, url=url, model=ECHO, wrote=WROTE, weather=WEATHER) == {
        "call": ["weather", ARGUMENTS, "tool_calls"],
        "answer": "Rain.",
        "gathered": ARGUMENTS,
        "run": [1, "Oslo: rain."],
        "next": "Rain.",
    }

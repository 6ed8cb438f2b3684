"""Vercel's AI SDK, by its provider for services that speak as OpenAI does."""

import base64

import pytest

from tests.contract.conftest import ECHO, TINY
from tests.support.node import Node
from tests.support.openai_clients import AI
from tests.support.pictures import picture
from tests.support.tools import WEATHER

pytestmark = pytest.mark.node

ASK = "What is this?"
SHOWN = f"{ASK} [9x7]"
CALL = '<tool_call> {"name": "weather", "arguments": {"city": "Oslo", "unit": "c"}} </tool_call>'

ANSWERS = """
const shown = Buffer.from(data, "base64");
const png = { type: "file", mediaType: "image/png", data: shown };
const messages = [{ role: "user", content: [{ type: "text", text: ask }, png] }];
const asked = { model: provider(model), instructions: "Be brief.", messages };
const whole = await generateText(asked);
const streamed = streamText(asked);
let text = "";
for await (const piece of streamed.textStream) text += piece;
const counts = ({ inputTokens, outputTokens }) => [inputTokens, outputTokens];
return {
  whole: [whole.text, whole.finishReason, counts(whole.usage)],
  streamed: [text, await streamed.finishReason, counts(await streamed.usage)],
};
"""


def test_a_picture_is_asked_about_whole_and_streamed_with_the_tokens_counted(url: str, node: Node) -> None:
    data = base64.b64encode(picture(size=(9, 7))).decode()
    found = node.run(AI + ANSWERS, url=url, model=ECHO, ask=ASK, data=data)
    # Two words of the system, three and a picture of the user; four of the answer.
    assert found == {"whole": [SHOWN, "stop", [6, 4]], "streamed": [SHOWN, "stop", [6, 4]]}


TOOLS = """
const cities = [];
const weather = tool({
  description: "The weather of a city.",
  inputSchema: jsonSchema(schema),
  execute: async ({ city }) => {
    cities.push(city);
    return `${city}: rain.`;
  },
});
const asked = { model: provider(model), prompt: call, tools: { weather }, stopWhen: isStepCount(2) };
const whole = await generateText(asked);
const streamed = streamText(asked);
let text = "";
for await (const piece of streamed.textStream) text += piece;
const steps = (found) => found.map(({ finishReason, toolCalls }) => [finishReason, toolCalls.length]);
const last = [text.trim(), steps(await streamed.steps)];
return { cities, whole: [whole.text, steps(whole.steps)], streamed: last };
"""


def test_a_function_is_called_and_its_result_answered_whole_and_streamed(url: str, node: Node) -> None:
    schema = WEATHER["function"]["parameters"]
    found = node.run(AI + TOOLS, url=url, model=ECHO, call=CALL, schema=schema)
    answered = ["Oslo: rain.", [["tool-calls", 1], ["stop", 0]]]
    assert found == {"cities": ["Oslo", "Oslo"], "whole": answered, "streamed": answered}


OUTPUT = """
const schema = jsonSchema({
  type: "object",
  properties: { round: { type: "boolean" } },
  required: ["round"],
  additionalProperties: false,
});
const wanted = Output.object({ schema });
return (await generateText({ model: provider(model), prompt: ask, output: wanted })).output;
"""


def test_an_answer_is_held_to_a_schema(url: str, node: Node) -> None:
    assert node.run(AI + OUTPUT, url=url, model=TINY, ask=ASK)["round"] in (True, False)

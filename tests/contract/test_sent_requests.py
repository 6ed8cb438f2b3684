"""What each family's clients send, as recorded in tests/data/sent: tests/unit reads all of it.

To record one anew, delete it and run its test twice.
"""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
from huggingface_hub import AsyncInferenceClient
from pydantic import BaseModel

from tests.support.golden import assert_golden
from tests.support.hf_clients import JS as HF_JS
from tests.support.node import Node
from tests.support.openai_clients import AI, JS
from tests.support.pictures import picture
from tests.support.recording import Recording, recording
from tests.support.tools import CLOCK, WEATHER

MODEL, ASK = "sightline/tiny", "What is this?"
DATA = base64.b64encode(picture(size=(2, 1))).decode()
URI = f"data:image/png;base64,{DATA}"
CALL = {"id": "call_1", "type": "function", "function": {"name": "clock", "arguments": "{}"}}
TURNS: list[Any] = [
    {"role": "system", "content": "Be brief."},
    {
        "role": "user",
        "content": [{"type": "image_url", "image_url": {"url": URI}}, {"type": "text", "text": ASK}],
    },
    {"role": "assistant", "content": "A look at the clock.", "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "call_1", "content": "Noon."},
]
ITEMS: list[Any] = [
    {
        "role": "user",
        "content": [
            {"type": "input_image", "image_url": URI, "detail": "auto"},
            {"type": "input_text", "text": ASK},
        ],
    }
]
DRAWN = {"temperature": 0.5, "top_p": 0.9, "seed": 7, "stop": ["END"]}
LIMITED: dict[str, Any] = {"max_tokens": 16, **DRAWN}


class Seen(BaseModel):
    round: bool


@pytest.fixture
async def sent() -> AsyncIterator[Recording]:
    async with recording() as found:
        yield found


async def test_python_sends_what_is_recorded(sent: Recording) -> None:
    async with openai.AsyncOpenAI(base_url=f"{sent.url}/v1", api_key="any", max_retries=0) as client:
        tools: list[Any] = [WEATHER, CLOCK]
        await client.chat.completions.create(
            model=MODEL,
            messages=TURNS,
            tools=tools,
            tool_choice="auto",
            max_tokens=16,
            **DRAWN,  # type: ignore[call-overload]
        )
        await client.chat.completions.create(
            model=MODEL, messages=TURNS[1:2], stream=True, stream_options={"include_usage": True}
        )
        await client.chat.completions.parse(model=MODEL, messages=TURNS[1:2], response_format=Seen)
        await client.completions.create(model=MODEL, prompt=ASK, max_tokens=16, **DRAWN)  # type: ignore[call-overload]
        await client.responses.create(
            model=MODEL, input=ITEMS, instructions="Be brief.", max_output_tokens=16
        )
        await client.responses.parse(model=MODEL, input=ITEMS, text_format=Seen)
    assert_golden("sent/openai_python", sent.bodies)


SEND = """
const drawn = { temperature: 0.5, top_p: 0.9, seed: 7, stop: ["END"] };
const shown = messages.slice(1, 2);
const max_tokens = 16;
await client.chat.completions.create({ model, messages, tools, tool_choice: "auto", max_tokens, ...drawn });
const stream_options = { include_usage: true };
const stream = await client.chat.completions.create({ model, messages: shown, stream: true, stream_options });
for await (const _ of stream);
const format = { type: "json_schema", name: "Seen", strict: true, schema };
const { type, ...json_schema } = format;
await client.chat.completions.parse({ model, messages: shown, response_format: { type, json_schema } });
await client.completions.create({ model, prompt: ask, max_tokens, ...drawn });
await client.responses.create({ model, input, instructions: "Be brief.", max_output_tokens: 16 });
await client.responses.parse({ model, input, text: { format } });
"""


@pytest.mark.node
async def test_javascript_sends_what_is_recorded(sent: Recording, node: Node) -> None:
    names = {"model": MODEL, "ask": ASK, "messages": TURNS, "tools": [WEATHER, CLOCK], "input": ITEMS}
    schema = {**Seen.model_json_schema(), "additionalProperties": False}
    await asyncio.to_thread(node.run, JS + SEND, url=sent.url, schema=schema, **names)
    assert_golden("sent/openai_js", sent.bodies)


# Its own HTTP library would rather not see bytes sent by that argument.
@pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
async def test_hugging_face_s_python_sends_what_is_recorded(sent: Recording) -> None:
    tools: list[Any] = [WEATHER, CLOCK]
    task = f"{sent.url}/models/{MODEL}"
    form: Any = {"type": "json_schema", "json_schema": {"name": "Seen", "schema": Seen.model_json_schema()}}
    async with AsyncInferenceClient(base_url=sent.url, token="any") as client:
        await client.chat_completion(TURNS, model=MODEL, tools=tools, tool_choice="auto", **LIMITED)
        counted: Any = {"stream": True, "stream_options": {"include_usage": True}}
        async for _ in await client.chat_completion(TURNS[1:2], model=MODEL, **counted):
            pass
        await client.chat_completion(TURNS[1:2], model=MODEL, response_format=form)
    async with AsyncInferenceClient(token="any") as client:
        await client.text_generation(ASK, model=task, max_new_tokens=16, **DRAWN)
        await client.visual_question_answering(base64.b64decode(DATA), ASK, model=task)
        await client.image_to_text(base64.b64decode(DATA), model=task)
    assert_golden("sent/hf_python", sent.bodies)


HF_SEND = """
const drawn = { temperature: 0.5, top_p: 0.9, seed: 7, stop: ["END"] };
const shown = messages.slice(1, 2);
await client.chatCompletion({ model, messages, tools, tool_choice: "auto", max_tokens: 16, ...drawn });
const stream_options = { include_usage: true };
for await (const _ of client.chatCompletionStream({ model, messages: shown, stream_options }));
const response_format = { type: "json_schema", json_schema: { name: "Seen", schema } };
await client.chatCompletion({ model, messages: shown, response_format });
const task = new InferenceClient("any").endpoint(`${url}/models/${model}`);
await task.textGeneration({ inputs: ask, parameters: { max_new_tokens: 16, ...drawn } });
const image = new Blob([Buffer.from(data, "base64")], { type: "image/png" });
await task.visualQuestionAnswering({ inputs: { question: ask, image } });
await task.imageToText({ data: image });
"""


@pytest.mark.node
async def test_hugging_face_s_javascript_sends_what_is_recorded(sent: Recording, node: Node) -> None:
    names = {"model": MODEL, "ask": ASK, "data": DATA, "messages": TURNS, "tools": [WEATHER, CLOCK]}
    schema = Seen.model_json_schema()
    await asyncio.to_thread(node.run, HF_JS + HF_SEND, url=sent.url, schema=schema, **names)
    # The client names the model of a text by the URL that it was given, whose port is another each time.
    assert_golden("sent/hf_js", json.loads(json.dumps(sent.bodies).replace(sent.url, "http://service")))


AI_SEND = """
const png = { type: "file", mediaType: "image/png", data: Buffer.from(data, "base64") };
const shown = { role: "user", content: [png, { type: "text", text: ask }] };
const drawn = { temperature: 0.5, topP: 0.9, seed: 7, stopSequences: ["END"], maxOutputTokens: 16 };
const functions = Object.fromEntries(tools.map(({ function: { name, description, parameters } }) => [
  name, tool({ description, inputSchema: jsonSchema(parameters ?? { type: "object", properties: {} }) }),
]));
const call = { type: "tool-call", toolCallId: "call_1", toolName: "clock", input: {} };
const noon = { type: "text", value: "Noon." };
const given = { type: "tool-result", toolCallId: "call_1", toolName: "clock", output: noon };
const instructions = "Be brief.";
const messages = [
  shown,
  { role: "assistant", content: [{ type: "text", text: "A look at the clock." }, call] },
  { role: "tool", content: [given] },
];
await generateText({ model: provider(model), instructions, messages, tools: functions, ...drawn });
await streamText({ model: provider(model), messages: [shown] }).text;
const output = Output.object({ name: "Seen", schema: jsonSchema(schema) });
await generateText({ model: provider(model), messages: [shown], output });
"""


@pytest.mark.node
async def test_the_ai_sdk_sends_what_is_recorded(sent: Recording, node: Node) -> None:
    names: dict[str, Any] = {"model": MODEL, "ask": ASK, "data": DATA, "tools": [WEATHER, CLOCK]}
    schema = {**Seen.model_json_schema(), "additionalProperties": False}
    await asyncio.to_thread(node.run, AI + AI_SEND, url=sent.url, schema=schema, **names)
    assert_golden("sent/ai_sdk", sent.bodies)

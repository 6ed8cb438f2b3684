"""OpenAI's Responses as its client in JavaScript asks for them."""

from typing import Any

import pytest

from tests.contract.conftest import ECHO, TINY
from tests.support.node import Node
from tests.support.openai_clients import JS

pytestmark = pytest.mark.node

ASK = "What is this?"
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"round": {"type": "boolean"}},
    "required": ["round"],
    "additionalProperties": False,
}


def asked(node: Node, url: str, source: str, **names: Any) -> Any:
    return node.run(JS + source, url=url, model=ECHO, ask=ASK, **names)


WHOLE = """
const more = { instructions: "Be brief.", metadata: { shop: "7" } };
const first = await client.responses.create({ model, input: ask, ...more });
const input = "Are you sure?";
const second = await client.responses.create({ model, input, previous_response_id: first.id });
const roles = [];
for await (const item of client.responses.inputItems.list(second.id, { order: "asc" })) roles.push(item.role);
return { told: [first.status, first.output_text, first.instructions, first.metadata], roles };
"""


def test_a_response_is_created_and_gone_on_from(url: str, node: Node) -> None:
    found = asked(node, url, WHOLE)
    assert found["told"] == ["completed", ASK, "Be brief.", {"shop": "7"}]
    assert found["roles"] == ["user", "assistant", "user"]


PARSED = """
const text = { format: { type: "json_schema", name: "seen", strict: true, schema } };
const whole = await client.responses.parse({ model: tiny, input: ask, text });
const stream = client.responses.stream({ model: tiny, input: ask, text });
const snapshots = [];
stream.on("response.output_text.delta", (event) => snapshots.push(event.snapshot));
const final = await stream.finalResponse();
const { output_parsed: parsed, output_text: text_of } = whole;
return { parsed, streamed: final.output_parsed, snapshot: snapshots.pop(), text: text_of };
"""


def test_an_answer_in_a_format_is_parsed_whole_and_streamed(url: str, node: Node) -> None:
    found = asked(node, url, PARSED, tiny=TINY, schema=SCHEMA)
    assert list(found["parsed"]) == ["round"]
    assert found["streamed"] == found["parsed"]
    assert found["snapshot"] == found["text"]


STREAM = """
const anew = { headers: { "x-use-cache": "false" } };
const stream = await client.responses.create({ model, input: ask, background: true, stream: true }, anew);
const seen = [];
for await (const event of stream) {
  seen.push(event);
  if (event.type === "response.output_text.delta") break;
}
const { id } = seen[0].response;
const starting_after = seen.at(-1).sequence_number;
const all = async (events) => {
  const found = [];
  for await (const event of events) found.push(event);
  return found;
};
const rest = await all(await client.responses.retrieve(id, { stream: true, starting_after }));
const whole = await all(await client.responses.retrieve(id, { stream: true }));
const helped = await client.responses.stream({ response_id: id, starting_after }).finalResponse();
return { taken: [...seen, ...rest], whole, text: helped.output_text };
"""


def test_a_stream_numbers_its_events_and_is_taken_up_where_it_was_left(url: str, node: Node) -> None:
    found = asked(node, url, STREAM)
    assert found["taken"] == found["whole"]
    assert [event["sequence_number"] for event in found["whole"]] == list(range(len(found["whole"])))
    assert found["text"] == ASK

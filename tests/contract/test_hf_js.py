"""huggingface.js, unmodified, at every URL it may be given: chats, tasks, raw calls; fetch as pages do it."""

import base64
from typing import Any

import pytest

from tests.contract.conftest import ECHO, TINY
from tests.support.circle_questions import COLOUR, RED, circle, data_uri
from tests.support.hf_clients import JS
from tests.support.node import Node
from tests.support.tools import WEATHER

pytestmark = pytest.mark.node

PICTURE = base64.b64encode(circle(RED)).decode()
CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Oslo", "unit": "c"}}\n</tool_call>'
CHAT = """
const asked = { messages: [{ role: "user", content }], ...said };
const whole = await client.chatCompletion(asked);
const chunks = [];
for await (const chunk of client.chatCompletionStream(asked)) chunks.push(chunk);
return { whole, chunks };
"""
BYTES = """
const bytes = Uint8Array.from(atob(picture), (c) => c.charCodeAt(0));
const blob = new Blob([bytes], { type: "image/png" });
"""
ROOT, MODEL = ("", "/", "/v1"), (f"/models/{ECHO}", f"/models/{ECHO}/v1", f"/hf-inference/models/{ECHO}")


def chatted(node: Node, url: str, content: Any, **said: Any) -> Any:
    """The answer whole, and the chunks of it streamed."""
    return node.run(JS + CHAT, url=url, content=content, said=said)


def text_of(chunks: list[Any]) -> str:
    return "".join(chunk["choices"][0]["delta"]["content"] for chunk in chunks)


@pytest.mark.parametrize(
    ("path", "said"), [(path, {"model": ECHO}) for path in ROOT] + [(path, {}) for path in MODEL]
)
def test_a_chat_is_answered_at_every_endpoint(node: Node, url: str, path: str, said: dict[str, Any]) -> None:
    found = chatted(node, url + path, "one two three", **said)
    assert found["whole"]["choices"][0]["message"]["content"] == "one two three"
    assert found["whole"]["model"] == ECHO
    assert text_of(found["chunks"]) == "one two three"
    assert found["chunks"][-1]["choices"][0]["finish_reason"] == "stop"


def test_an_endpoint_may_be_an_option_of_the_client(node: Node, url: str) -> None:
    source = """
const { InferenceClient } = await load("@huggingface/inference");
const client = new InferenceClient("hf_any", { endpointUrl: url });
const found = await client.chatCompletion({ model, messages: [{ role: "user", content: "one" }] });
return found.choices[0].message.content;
"""
    for path, model in (("/v1", f"{ECHO}:hf-inference"), (f"/models/{ECHO}", f"{ECHO}:fastest")):
        assert node.run(source, url=url + path, model=model) == "one"


def test_the_shipped_model_answers_about_a_picture(node: Node, url: str) -> None:
    content = [
        {"type": "image_url", "image_url": {"url": data_uri(circle(RED))}},
        {"type": "text", "text": COLOUR},
    ]
    found = chatted(node, f"{url}/models/{TINY}", content)
    answer = found["whole"]["choices"][0]["message"]["content"]
    assert "red" in answer.lower()
    assert text_of(found["chunks"]) == answer


def test_what_a_chat_asks_for_beside_its_words_is_obeyed(node: Node, url: str) -> None:
    said = {"max_tokens": 2, "logprobs": True, "top_logprobs": 1, "stream_options": {"include_usage": True}}
    found = chatted(node, f"{url}/models/{ECHO}", "one two three", **said)
    [choice] = found["whole"]["choices"]
    *chunks, last = found["chunks"]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("one two", "length")
    assert [token["token"] for token in choice["logprobs"]["content"]] == ["one", " two"]
    assert text_of(chunks) == "one two"
    assert (last["choices"], last["usage"]["completion_tokens"]) == ([], 2)


def test_a_function_is_called_whole_and_streamed(node: Node, url: str) -> None:
    found = chatted(node, f"{url}/models/{ECHO}", CALL, tools=[WEATHER])
    [choice] = found["whole"]["choices"]
    [streamed] = [c for chunk in found["chunks"] for c in chunk["choices"][0]["delta"].get("tool_calls", ())]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["tool_calls"][0]["function"]["name"] == "weather"
    assert streamed["function"]["name"] == "weather"


@pytest.mark.parametrize("data", ["blob", "bytes.buffer"])
def test_a_picture_is_put_into_words(node: Node, url: str, data: str) -> None:
    source = JS + BYTES + f"return client.imageToText({{ data: {data} }});"
    found = node.run(source, url=f"{url}/models/{TINY}", picture=PICTURE)
    assert "red" in found["generated_text"].lower()


def test_a_question_about_a_picture_has_an_answer_and_a_score(node: Node, url: str) -> None:
    source = JS + BYTES + "return client.visualQuestionAnswering({ inputs: { question, image: blob } });"
    found = node.run(source, url=f"{url}/models/{TINY}", picture=PICTURE, question=COLOUR)
    # One answer or the list of them, by the client's release.
    [answer] = found if isinstance(found, list) else [found]
    assert "red" in answer["answer"].lower()
    assert 0 <= answer["score"] <= 1


def test_the_raw_route_is_asked_whole_and_streamed(node: Node, url: str) -> None:
    source = """
const asked = { inputs: "one two three", parameters: { max_new_tokens: 2 } };
const tokens = [];
for await (const token of client.streamingRequest(asked)) tokens.push(token);
return { whole: await client.request(asked), tokens };
"""
    found = node.run(JS + source, url=f"{url}/models/{ECHO}")
    assert found["whole"] == [{"generated_text": "one two"}]
    assert "".join(token["token"]["text"] for token in found["tokens"]) == "one two"
    assert found["tokens"][-1]["generated_text"] == "one two"


def test_fetch_as_the_task_pages_show_it_is_answered_in_json(node: Node, url: str) -> None:
    source = """
async function query(data) {
  const response = await fetch(url, {
    headers: { Authorization: "Bearer: hf_any", "Content-Type": "application/json" },
    method: "POST",
    body: data,
  });
  return await response.json();
}
const broken = '{"inputs": No input example has been defined for this model task.}';
return [await query(JSON.stringify({ inputs: "one two" })), await query(broken)];
"""
    whole, broken = node.run(source, url=f"{url}/models/{ECHO}")
    assert whole == [{"generated_text": "one two"}]
    assert broken["error_type"] == "invalid_json"

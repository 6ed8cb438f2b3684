"""Chats as OpenAI's clients ask for them and read them."""

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from pydantic import BaseModel

from tests.contract.conftest import ECHO, LONG, TINY
from tests.support.clients import Api
from tests.support.node import Node
from tests.support.openai_clients import JS, KINDS, Kind, openai_client
from tests.support.pictures import answering, origin, picture

ASK = "What is this?"
SIZE = "[9x7]"
PICTURE = picture(size=(9, 7))
URI = f"data:image/png;base64,{base64.b64encode(PICTURE).decode()}"
USAGE = {"include_usage": True}


class Seen(BaseModel):
    round: bool


FORMAT: dict[str, Any] = {
    "type": "json_schema",
    "json_schema": {"name": "Seen", "strict": True, "schema": Seen.model_json_schema()},
}


def turns(*parts: dict[str, Any], text: str = ASK) -> list[Any]:
    return [{"role": "user", "content": [{"type": "text", "text": text}, *parts]}]


@contextmanager
def elsewhere() -> Iterator[str]:
    """The picture's address on another server."""
    head = b"HTTP/1.1 200 OK\r\ncontent-type: image/png\r\ncontent-length: %d\r\n\r\n" % len(PICTURE)
    with origin(answering(head, PICTURE)) as found:
        yield found.url


def test_a_chat_is_answered_with_its_tokens_counted(client: Any) -> None:
    answer = client.chat.completions.create(model=ECHO, messages=turns())
    [choice] = answer.choices
    assert (choice.message.role, choice.message.content, choice.finish_reason) == ("assistant", ASK, "stop")
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (3, 3)
    assert answer._request_id.startswith("req_")
    raw = client.chat.completions.with_raw_response.create(model=ECHO, messages=turns())
    assert (raw.headers["x-cache"], raw.parse().choices) == ("HIT", answer.choices)


def test_a_picture_is_the_same_question_by_its_bytes_its_address_or_its_file(client: Any) -> None:
    file = client.files.create(file=("a.png", PICTURE), purpose="vision")
    with elsewhere() as address:
        parts: list[dict[str, Any]] = [
            {"type": "image_url", "image_url": {"url": URI, "detail": "low"}},
            {"type": "image_url", "image_url": {"url": address}},
            {"type": "image_file", "image_file": {"file_id": file.id}},
        ]
        replies = [
            client.chat.completions.with_raw_response.create(model=ECHO, messages=turns(part))
            for part in parts
        ]
    texts = {reply.parse().choices[0].message.content for reply in replies}
    assert texts == {f"{ASK} {SIZE}"}
    assert [reply.headers["x-cache"] for reply in replies][1:] == ["HIT", "HIT"]


def test_the_tokens_of_a_stream_are_counted_in_one_more_chunk_where_they_are_asked_for(client: Any) -> None:
    asked: dict[str, Any] = {"model": ECHO, "messages": turns(), "stream": True, "stream_options": USAGE}
    *chunks, last = client.chat.completions.create(**asked)
    assert "".join(chunk.choices[0].delta.content for chunk in chunks) == ASK
    assert [chunk.choices[0].finish_reason for chunk in chunks] == [None] * (len(chunks) - 1) + ["stop"]
    assert {chunk.usage for chunk in chunks} == {None}
    assert (last.choices, last.usage.total_tokens) == ([], 6)


@pytest.mark.usefixtures("pauses")
@pytest.mark.parametrize("kind", KINDS)
def test_a_call_that_python_repeats_after_its_own_time_out_is_computed_once(url: str, kind: Kind) -> None:
    with openai_client(kind, url, timeout=1, max_retries=8) as client:
        asked = turns(text=f"{LONG[:600]} {kind}")
        reply = client.chat.completions.with_raw_response.create(model=ECHO, messages=asked)
    with Api(url) as api:
        attempts = api.job(reply.headers["x-job-id"])["attempts"]
    assert [attempt["outcome"] for attempt in attempts] == ["succeeded"]


def test_an_answer_in_a_format_is_parsed(client: Any) -> None:
    asked: dict[str, Any] = {"model": TINY, "messages": turns(), "response_format": Seen}
    whole = client.chat.completions.parse(**asked).choices[0].message.parsed
    with client.chat.completions.stream(**asked) as stream:
        streamed = stream.get_final_completion().choices[0].message.parsed
    assert isinstance(whole, Seen)
    assert streamed == whole


@pytest.mark.parametrize("model", [ECHO, TINY])
def test_who_measures_servers_gets_and_counts_as_many_tokens_as_asked(client: Any, model: str) -> None:
    options = USAGE | {"continuous_usage_stats": True}
    asked = {"model": model, "messages": turns(), "max_tokens": 24, "extra_body": {"ignore_eos": True}}
    *chunks, last = client.chat.completions.create(**asked, stream=True, stream_options=options)
    counts = [chunk.usage.completion_tokens for chunk in chunks]
    assert counts == sorted(counts)
    assert {chunk.usage.prompt_tokens for chunk in chunks} == {last.usage.prompt_tokens}
    assert (chunks[-1].choices[0].finish_reason, last.usage.completion_tokens) == ("length", 24)


def test_the_models_are_listed_and_found_by_names_with_slashes(client: Any) -> None:
    listed = [model.id for model in client.models.list()]
    assert listed[:2] == [TINY, ECHO]
    assert client.models.retrieve(ECHO).id == ECHO


CHAT_JS = """
const messages = [{ role: "user", content: [{ type: "text", text: ask }] }];
const whole = await client.chat.completions.create({ model, messages });
const told = { content: "", reasons: [], empty: 0 };
const stream = await client.chat.completions.create({ model, messages, stream: true });
for await (const chunk of stream) {
  told.content += chunk.choices[0].delta.content;
  told.reasons.push(chunk.choices[0].finish_reason);
  if (chunk.usage) told.empty += 1;
}
const counted = [];
const options = { include_usage: true };
for await (const chunk of await client.chat.completions.create(
  { model, messages, stream: true, stream_options: options })) counted.push(chunk);
const last = counted.pop();
return {
  whole: [whole.choices[0].message.content, whole.choices[0].finish_reason, whole.usage.total_tokens],
  id: whole._request_id,
  told,
  unusual: counted.filter((chunk) => chunk.choices.length !== 1 || chunk.usage).length,
  last: [last.choices, last.usage.total_tokens],
};
"""


@pytest.mark.node
def test_javascript_reads_a_chat_whole_and_streamed_and_counts_its_tokens(url: str, node: Node) -> None:
    found = node.run(JS + CHAT_JS, url=url, model=ECHO, ask=ASK)
    *earlier, reason = found["told"]["reasons"]
    assert found["whole"] == [ASK, "stop", 6]
    assert found["id"].startswith("req_")
    assert (found["told"]["content"], found["told"]["empty"]) == (ASK, 0)
    assert (set(earlier), reason) == ({None}, "stop")
    assert (found["unusual"], found["last"]) == (0, [[], 6])


FORMAT_JS = """
const messages = [{ role: "user", content: ask }];
const parsed = await client.chat.completions.parse({ model, messages, response_format: format });
const ids = [];
for await (const model of client.models.list()) ids.push(model.id);
return {
  parsed: JSON.parse(parsed.choices[0].message.content),
  ids,
  one: (await client.models.retrieve(echo)).id,
};
"""


@pytest.mark.node
def test_javascript_reads_an_answer_in_a_format_and_the_models(url: str, node: Node) -> None:
    found = node.run(JS + FORMAT_JS, url=url, model=TINY, echo=ECHO, ask=ASK, format=FORMAT)
    assert Seen.model_validate(found["parsed"])
    assert (found["ids"][:2], found["one"]) == ([TINY, ECHO], ECHO)

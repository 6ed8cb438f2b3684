"""Files, batches and webhooks as OpenAI's clients use them."""

import json
from typing import Any

import openai
import pytest
from openai.types.webhooks import BatchCompletedWebhookEvent

from shared.webhooks import new_secret
from tests.contract.conftest import ECHO, FAILING, STALLING
from tests.support.clients import until
from tests.support.node import Node
from tests.support.openai_clients import JS, openai_client
from tests.support.receiver import Receiver, receiver

CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"
ENDED = ("completed", "failed", "expired", "cancelled")
ASK = "What is this?"


def line(id: str, text: str, url: str = CHAT) -> dict[str, Any]:
    asked = {"messages": [{"role": "user", "content": text}]} if url == CHAT else {"input": text}
    return {"custom_id": id, "method": "POST", "url": url, "body": {"model": ECHO, **asked}}


def written(*lines: dict[str, Any]) -> str:
    return "".join(json.dumps(each) + "\n" for each in lines)


def begun(client: Any, *lines: dict[str, Any], endpoint: str = CHAT, **more: Any) -> Any:
    file = client.files.create(file=("in.jsonl", written(*lines).encode()), purpose="batch")
    return client.batches.create(
        input_file_id=file.id, endpoint=endpoint, completion_window="24h", extra_body=more
    )


def ended(client: Any, batch: Any) -> Any:
    return until(lambda: (seen := client.batches.retrieve(batch.id)).status in ENDED and seen)


def rows(client: Any, file: str) -> list[dict[str, Any]]:
    return [json.loads(row) for row in client.files.content(file).text.splitlines()]


def test_a_file_is_uploaded_read_listed_and_deleted(client: Any) -> None:
    data = b"one\ntwo\n"
    made = client.files.create(file=("notes.txt", data), purpose="user_data")
    ready = client.files.wait_for_processing(made.id)
    assert (ready.filename, ready.bytes, ready.status) == ("notes.txt", len(data), "processed")
    assert client.files.content(made.id).content == data
    assert [file.id for file in client.files.list(limit=1)].count(made.id) == 1
    assert client.files.delete(made.id).deleted
    with pytest.raises(openai.NotFoundError) as gone:
        client.files.retrieve(made.id)
    assert gone.value.code == "file_not_found"


def test_good_lines_of_a_batch_are_in_its_output_and_bad_ones_in_its_errors(client: Any) -> None:
    made = begun(client, line("good", ASK), line("bad", FAILING))
    batch = ended(client, made)
    counts = batch.request_counts
    assert (made.status, batch.status) == ("validating", "completed")
    assert (counts.total, counts.completed, counts.failed) == (2, 1, 1)
    [good], [bad] = rows(client, batch.output_file_id), rows(client, batch.error_file_id)
    answer, error = good["response"]["body"], bad["response"]["body"]["error"]
    assert (good["custom_id"], answer["choices"][0]["message"]["content"]) == ("good", ASK)
    assert (bad["response"]["status_code"], error["code"]) == (500, "attempts_exhausted")
    assert batch.id in [each.id for each in client.batches.list(limit=1)]


def test_a_line_may_ask_for_a_response_and_a_batch_is_cancelled(client: Any) -> None:
    asked = ended(client, begun(client, line("1", ASK, RESPONSES), endpoint=RESPONSES))
    [row] = rows(client, asked.output_file_id)
    assert client.responses.retrieve(row["response"]["body"]["id"]).output_text == ASK
    endless = begun(client, line("1", STALLING))
    assert client.batches.cancel(endless.id).status in ("cancelling", "cancelled")
    assert ended(client, endless).status == "cancelled"


LIFE = """
const upload = async (text, purpose) =>
  client.files.create({ file: await toFile(Buffer.from(text), "in.jsonl"), purpose });
const notes = await upload("one\\ntwo\\n", "user_data");
const content = await (await client.files.content(notes.id)).text();
const listed = [];
for await (const file of client.files.list({ limit: 1 })) listed.push(file.id);
const { deleted } = await client.files.delete(notes.id);
const begun = await client.batches.create({
  input_file_id: (await upload(lines, "batch")).id, endpoint, completion_window: "24h",
});
async function ended({ id }) {
  for (;;) {
    const seen = await client.batches.retrieve(id);
    if (over.includes(seen.status)) return seen;
    await new Promise((resume) => setTimeout(resume, 50));
  }
}
const rows = async (file) => {
  const text = await (await client.files.content(file)).text();
  return text.trim().split("\\n").map((row) => JSON.parse(row));
};
const batch = await ended(begun);
return {
  file: [content, listed.includes(notes.id), deleted],
  counts: batch.request_counts,
  good: (await rows(batch.output_file_id))[0].response.body.choices[0].message.content,
  bad: (await rows(batch.error_file_id))[0].response.body.error.code,
};
"""


@pytest.mark.node
def test_javascript_keeps_files_and_makes_batches(url: str, node: Node) -> None:
    lines = written(line("good", ASK), line("bad", FAILING))
    assert node.run(JS + LIFE, url=url, over=ENDED, lines=lines, endpoint=CHAT) == {
        "file": ["one\ntwo\n", True, True],
        "counts": {"total": 2, "completed": 1, "failed": 1},
        "good": ASK,
        "bad": "attempts_exhausted",
    }


def told(url: str, hook: Receiver) -> str:
    """The secret of a webhook for a batch's end."""
    secret = new_secret()
    wanted = {"url": hook.url, "events": ["batch.completed"], "secret": secret}
    with openai_client("OpenAI", url) as client:
        ended(client, begun(client, line("1", ASK), webhook=wanted))
    until(lambda: bool(hook.calls))
    return secret


UNWRAP = """
const event = await client.webhooks.unwrap(body, headers, secret);
const told = (error) => error.constructor.name;
const forged = await client.webhooks.unwrap(body + " ", headers, secret).catch(told);
return [event.type, event.data.id.slice(0, 6), forged];
"""


def test_the_end_of_a_batch_is_told_as_openai_tells_it(url: str) -> None:
    with receiver() as hook, openai_client("OpenAI", url) as client:
        secret = told(url, hook)
        [call] = hook.calls
        event = client.webhooks.unwrap(call.body, call.headers, secret=secret)
        with pytest.raises(openai.InvalidWebhookSignatureError):
            client.webhooks.unwrap(call.body + b" ", call.headers, secret=secret)
    assert isinstance(event, BatchCompletedWebhookEvent)
    assert event.data.id.startswith("batch_")


@pytest.mark.node
def test_javascript_unwraps_what_a_webhook_is_told(url: str, node: Node) -> None:
    with receiver() as hook:
        secret = told(url, hook)
    [call] = hook.calls
    names = {"body": call.body.decode(), "headers": call.headers, "secret": secret}
    found = node.run(JS + UNWRAP, url=url, **names)
    assert found == ["batch.completed", "batch_", "InvalidWebhookSignatureError"]

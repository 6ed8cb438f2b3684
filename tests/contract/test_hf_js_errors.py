"""What goes wrong in a running service, to a user of huggingface.js; each code of it: test_hf_refusals.py."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.contract.conftest import ECHO, LONG, STALLING, UNSERVED, WAKING
from tests.support.clients import Api, until
from tests.support.hf_clients import JS
from tests.support.keys import ADMIN
from tests.support.node import JsError, Node
from tests.support.service import Service

pytestmark = pytest.mark.node

ONCE = """
let requests = 0;
const options = { fetch: (...args) => { requests += 1; return fetch(...args); } };
"""
"""Counts what is sent; `options` go behind a call's arguments."""
CHAT = "const asked = { messages: [{ role: 'user', content }], ...said };"
WHOLE = "await client.chatCompletion(asked, options);"
PATIENT = (
    """
let requests = 0;
const options = { fetch: (url, init) => {
  requests += 1;
  return fetch(url, { ...init, headers: { ...init.headers, ...headers } });
} };
"""
    + CHAT
    + """
const found = await client.chatCompletion(asked, options);
return [found.choices[0].message.content, requests];
"""
)


def refused(node: Node, source: str, **names: Any) -> dict[str, Any]:
    """The error's own fields, and how many `requests` were sent."""
    body = ONCE + "try {" + source + "} catch (error) { error.requests = requests; throw error; }"
    with pytest.raises(JsError) as raised:
        node.run(JS + body, **names)
    return raised.value.facts


def test_a_client_that_repeats_a_503_for_ever_is_slowed_down(node: Node, url: str) -> None:
    """Without the service's pause it would send more than a hundred requests a second."""
    source = "options.signal = AbortSignal.timeout(2500);" + CHAT + WHOLE
    error = refused(node, source, url=f"{url}/models/{UNSERVED}", said={}, content="one")

    assert error["class"] == "DOMException"
    assert error["requests"] <= 3


@pytest.mark.parametrize("waits", [True, False])
def test_a_client_is_answered_once_the_model_is_there(service: Service, node: Node, waits: bool) -> None:
    """By its own repeating, or by the header, which it can send through a fetch of the caller's only."""
    headers = {"x-use-cache": "false"} | ({"x-wait-for-model": "true"} if waits else {})
    said = {
        "url": f"{service.url()}/models/{WAKING}",
        "said": {},
        "content": "good morning",
        "headers": headers,
    }
    service.processes[WAKING].end()
    with ThreadPoolExecutor(1) as pool, Api(service.url()) as api:
        answer = pool.submit(node.run, JS + PATIENT, **said)
        if waits:
            until(lambda: api.get(f"/status/{WAKING}").json()["queued"] == 1)
        service.start(WAKING)
        text, requests = answer.result()
    service.processes[WAKING].end()
    assert text == "good morning"
    assert requests == 1 or not waits


def test_a_caller_who_gives_up_takes_the_question_back(service: Service, node: Node) -> None:
    source = "options.signal = AbortSignal.timeout(1500);" + CHAT + WHOLE
    refused(node, source, url=f"{service.url()}/models/{ECHO}", said={}, content=f"{STALLING} now")
    with Api(service.url()) as api:
        newest = {"limit": 1}
        until(lambda: api.get("/v1/jobs", params=newest).json()["data"][0]["status"] == "cancelled")


def test_a_key_is_asked_for_and_the_page_s_spelling_of_it_taken(node: Node, keyed: str) -> None:
    source = """
const response = await fetch(url, {
  method: "POST",
  headers: { Authorization: authorization, "content-type": "application/json" },
  body: JSON.stringify({ inputs: "one" }),
});
return [response.status, await response.json()];
"""
    url = f"{keyed}/models/{ECHO}"
    assert node.run(source, url=url, authorization=f"Bearer: {ADMIN}") == [200, [{"generated_text": "one"}]]
    error = refused(node, CHAT + WHOLE, url=url, said={}, content="one")
    assert (error["httpResponse"]["status"], error["requests"]) == (401, 1)
    assert error["message"].startswith("Failed to perform inference: ")


def test_a_worker_that_dies_in_mid_stream_is_an_error_to_every_reader(service: Service, node: Node) -> None:
    url, question = f"{service.url()}/models/{ECHO}", f"{LONG} then it broke in JavaScript"
    opening = """
const messages = [{ role: "user", content: question }];
globalThis.readers = [
  client.chatCompletionStream({ messages }),
  client.streamingRequest({ inputs: question }),
];
return Promise.all(readers.map((reader) => reader.next()));
"""
    reading = """
const ends = readers.map(async (reader) => {
  for await (const chunk of reader);
});
return (await Promise.allSettled(ends)).map(({ reason }) => [reason?.name, reason?.message]);
"""
    assert all(not found["done"] for found in node.run(JS + opening, url=url, question=question))
    service.kill(ECHO)
    service.start(ECHO)
    for name, message in node.run(reading):
        assert name == "ProviderApiError"
        assert message.startswith("Failed to perform inference: ")

"""What a caller's own repeats and others' cancels come to, as OpenAI's clients and the AI SDK meet it.

What they raise for each error: test_openai_errors.py.
"""

from typing import Any

import openai
import pytest

from tests.contract.conftest import ECHO, LONG, UNSERVED
from tests.support.clients import Api, until
from tests.support.node import Node
from tests.support.openai_clients import AI, JS, KINDS, Kind, openai_client

CHAT: dict[str, Any] = {"model": ECHO, "messages": [{"role": "user", "content": "What is this?"}]}


def question(text: str, **more: Any) -> dict[str, Any]:
    return CHAT | {"messages": [{"role": "user", "content": text}], **more}


def test_a_key_for_another_question_is_refused_and_not_asked_again(client: Any) -> None:
    named = {"extra_headers": {"idempotency-key": f"k-{type(client).__name__}"}}
    client.chat.completions.create(**CHAT, **named)
    with pytest.raises(openai.UnprocessableEntityError) as refused:
        client.chat.completions.create(**question("And this?"), **named)
    assert refused.value.code == "idempotency_mismatch"


def cancel_all(url: str, count: int) -> None:
    """What waits for the model that nobody serves, once so many do."""
    with Api(url) as api:
        waiting = {"status": "queued", "model": UNSERVED}
        until(lambda: len(api.get("/v1/jobs", params=waiting).json()["data"]) == count)
        for job in api.get("/v1/jobs", params=waiting).json()["data"]:
            api.post(f"/v1/jobs/{job['id']}/cancel")


def kept(name: str) -> dict[str, str]:
    """The job under this name goes on though its caller leaves."""
    return {"x-wait-for-model": "true", "idempotency-key": name}


@pytest.mark.parametrize("kind", KINDS)
def test_a_job_that_somebody_cancelled_is_a_conflict_and_not_asked_again(url: str, kind: Kind) -> None:
    asked = question("Is anybody there?", model=UNSERVED, extra_headers=kept(f"left-{kind}"))
    with openai_client(kind, url, max_retries=2) as client:
        with pytest.raises(openai.APITimeoutError):
            client.with_options(max_retries=0).chat.completions.create(**asked, timeout=2)
        cancel_all(url, 1)
        with pytest.raises(openai.ConflictError) as cancelled:
            client.chat.completions.create(**asked)
    assert (cancelled.value.code, cancelled.value.status_code) == ("job_cancelled", 409)


LEFT = """
globalThis.asks = [
  (timeout) => client.chat.completions.create({ model, messages }, { headers: named[0], timeout }),
  (ms) => {
    const abortSignal = AbortSignal.timeout(ms);
    return generateText({ model: provider(model), messages, headers: named[1], abortSignal, maxRetries: 0 });
  },
];
return Promise.all(asks.map((ask) => ask(2000).catch(({ constructor }) => constructor.name)));
"""
BACK = """
const told = ({ constructor, status, statusCode }) => [constructor.name, status ?? statusCode];
return Promise.all(asks.map((ask) => ask(60_000).catch(told)));
"""


@pytest.mark.node
def test_a_job_that_somebody_cancelled_is_a_conflict_in_javascript(url: str, node: Node) -> None:
    asked = question("Is anybody there?", model=UNSERVED)
    left = node.run(JS + AI + LEFT, url=url, named=[kept("left-js"), kept("left-ai")], **asked)
    assert left == ["APIConnectionTimeoutError", "DOMException"]
    cancel_all(url, len(left))
    assert node.run(BACK) == [["ConflictError", 409], ["APICallError", 409]]


@pytest.mark.usefixtures("pauses")
@pytest.mark.parametrize("kind", KINDS)
def test_a_call_that_python_repeats_after_its_own_time_out_is_computed_once(url: str, kind: Kind) -> None:
    asked = question(f"{LONG[:600]} {kind}")
    with openai_client(kind, url, timeout=1, max_retries=8) as client:
        reply = client.chat.completions.with_raw_response.create(**asked)
    with Api(url) as api:
        attempts = api.job(reply.headers["x-job-id"])["attempts"]
    assert [attempt["outcome"] for attempt in attempts] == ["succeeded"]

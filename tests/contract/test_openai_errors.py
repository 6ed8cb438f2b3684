"""Every error of the service as the clients of OpenAI and the AI SDK raise it, and when they ask again.

docs/clients/README.md has the same table.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest

from shared.errors import CODES
from tests.contract.openai_exceptions import AGAIN, raised
from tests.support.node import Node
from tests.support.openai_clients import AI, JS, KINDS, Kind, openai_client, unhurried
from tests.support.refusing_app import MESSAGE, PARAM, RETRY_AFTER_S, Refused, refusing

MODEL = "sightline/tiny"


@pytest.fixture
async def refused() -> AsyncIterator[Refused]:
    async with refusing() as found:
        yield found


def ask(kind: Kind, url: str, question: str) -> openai.APIStatusError:
    with openai_client(kind, url, max_retries=AGAIN) as client, pytest.raises(openai.APIStatusError) as said:
        client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": question}])
    return said.value


@pytest.mark.parametrize("kind", KINDS)
async def test_python_raises_and_repeats_as_is_said(
    refused: Refused, pauses: list[float], kind: Kind
) -> None:
    for name, code in CODES.items():
        pauses.clear()
        error = await asyncio.to_thread(ask, kind, refused.url, name)
        again = AGAIN if raised(code).repeats else 0
        assert (type(error).__name__, error.status_code) == (raised(code).python, code.status)
        assert (error.code, error.param, MESSAGE in error.message) == (name, PARAM, True)
        assert (error.request_id or "").startswith("req_")
        assert (refused.questions[name], pauses) == (1 + again, [RETRY_AFTER_S] * again), name


ASK = """
async function ask(question) {
  try {
    await client.chat.completions.create({ model, messages: [{ role: "user", content: question }] }, options);
  } catch (error) {
    const { status, code, param, message, requestID } = error;
    return [error.constructor.name, status, code, param, message, requestID.slice(0, 4), pauses.splice(0)];
  }
}
const options = { maxRetries: again };
const found = {};
for (const question of questions) found[question] = await ask(question);
return found;
"""


@pytest.mark.node
async def test_javascript_raises_and_repeats_as_the_page_of_errors_says(refused: Refused, node: Node) -> None:
    names: dict[str, Any] = {"url": refused.url, "model": MODEL, "again": AGAIN, "questions": list(CODES)}
    found = await asyncio.to_thread(node.run, JS + unhurried(ASK), **names)

    for name, code in CODES.items():
        again = AGAIN if raised(code).repeats else 0
        told = [raised(code).javascript, code.status, name, PARAM, f"{code.status} {MESSAGE}", "req_"]
        assert found[name] == [*told, [1000 * RETRY_AFTER_S] * again], name
        assert refused.questions[name] == 1 + again


AI_ASK = """
async function ask(prompt) {
  try {
    await generateText({ model: provider(model), prompt, maxRetries: again });
  } catch (error) {
    const last = error.lastError ?? error;
    const { statusCode, data, message } = last;
    return [error.constructor.name, statusCode, data.error.code, message, pauses.splice(0)];
  }
}
const found = {};
for (const question of questions) found[question] = await ask(question);
return found;
"""


@pytest.mark.node
async def test_the_ai_sdk_raises_and_repeats_as_the_page_of_errors_says(refused: Refused, node: Node) -> None:
    names: dict[str, Any] = {"url": refused.url, "model": MODEL, "again": AGAIN, "questions": list(CODES)}
    found = await asyncio.to_thread(node.run, AI + unhurried(AI_ASK), **names)

    for name, code in CODES.items():
        again = AGAIN if raised(code).ai_repeats else 0
        # What is not worth a repeat names no time, and the SDK takes its own.
        waited = [1000 * RETRY_AFTER_S] * again if code.retryable else [2000, 4000][:again]
        assert found[name] == [raised(code).ai, code.status, name, MESSAGE, waited], name
        assert refused.questions[name] == 1 + again


SOON, LATER, LATEST = "queue_full 0", "queue_full 20", "queue_full 3600"
"""Asks to come back in no time, in 20 s, in an hour."""


@pytest.mark.parametrize("kind", KINDS)
async def test_python_waits_as_long_as_told_to(refused: Refused, pauses: list[float], kind: Kind) -> None:
    waited = []
    for question in (SOON, LATER, LATEST):
        error = await asyncio.to_thread(ask, kind, refused.url, question)
        waited.append((int(error.response.headers["retry-after"]), pauses.copy()))
        pauses.clear()

    assert [seconds for seconds, _ in waited][:2] == [1, 20]
    assert all(said == [seconds] * AGAIN for seconds, said in waited)


@pytest.mark.node
@pytest.mark.parametrize("source", [JS + unhurried(ASK), AI + unhurried(AI_ASK)], ids=["openai", "ai"])
async def test_javascript_waits_as_long_as_it_is_told_to(refused: Refused, node: Node, source: str) -> None:
    names: dict[str, Any] = {"url": refused.url, "model": MODEL, "again": AGAIN}
    found = await asyncio.to_thread(node.run, source, **names, questions=[SOON, LATER, LATEST])

    soon, later, latest = (told[-1] for told in found.values())
    assert (soon, later) == ([1000] * AGAIN, [20_000] * AGAIN)
    assert latest == [59_000] * AGAIN, "its own short pause"

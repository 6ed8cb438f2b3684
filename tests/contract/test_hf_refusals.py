"""Every error code as Hugging Face's clients raise it: its class, its words, and a single request."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from huggingface_hub import AsyncInferenceClient, InferenceClient
from huggingface_hub.errors import BadRequestError, HfHubHTTPError

from shared.errors import CODES
from tests.support.hf_clients import JS, KINDS, Kind, turn
from tests.support.node import Node
from tests.support.refusing_app import MESSAGE, PARAM, RETRY_AFTER_S, Refused, refusing

MODEL = "sightline/tiny"
PATHS = ["/v1", f"/models/{MODEL}"]


@pytest.fixture
async def refused() -> AsyncIterator[Refused]:
    async with refusing() as found:
        yield found


async def raised(kind: Kind, url: str) -> AsyncIterator[tuple[str, HfHubHTTPError]]:
    """Each code, and what the client made of it."""
    client = InferenceClient(base_url=url)
    async with AsyncInferenceClient(base_url=url) as other:
        for name in CODES:
            asked: Any = (
                other.chat_completion(turn(name), model=MODEL)
                if kind == "AsyncInferenceClient"
                else asyncio.to_thread(client.chat_completion, turn(name), model=MODEL)
            )
            with pytest.raises(HfHubHTTPError) as error:
                await asked
            yield name, error.value


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("kind", KINDS)
async def test_python_raises_each_of_them_after_one_request(refused: Refused, kind: Kind, path: str) -> None:
    async for name, error in raised(kind, refused.url + path):
        code = CODES[name]
        assert type(error) is (BadRequestError if code.status == 400 else HfHubHTTPError), name
        assert (error.response.status_code, refused.questions[name]) == (code.status, 1)
        assert f"`{PARAM}`: {MESSAGE}" in str(error), "no sentence that names the field"
        assert name in error.response.text
        assert (error.request_id or "").startswith("req_")
        assert error.response.headers.get("retry-after") == (str(RETRY_AFTER_S) if code.retryable else None)


ASK = """
const found = {};
for (const question of questions) {
  const asked = { model, messages: [{ role: "user", content: question }] };
  try {
    if (!streamed) await client.chatCompletion(asked, { retry_on_error: false });
    else for await (const chunk of client.chatCompletionStream(asked, { retry_on_error: false }));
  } catch (error) {
    const { status, body, requestId } = error.httpResponse;
    const code = body.error_type ?? body.error.code;
    found[question] = [error.name, status, code, requestId.slice(0, 4), error.message];
  }
}
return found;
"""


@pytest.mark.node
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("streamed", [False, True])
async def test_javascript_raises_each_of_them_after_one_request(
    refused: Refused, node: Node, monkeypatch: pytest.MonkeyPatch, path: str, streamed: bool
) -> None:
    monkeypatch.setattr("api.server.errors.PACE_S", 0.0)
    names: dict[str, Any] = {"url": refused.url + path, "model": MODEL, "questions": list(CODES)}
    found = await asyncio.to_thread(node.run, JS + ASK, **names, streamed=streamed)

    for name, code in CODES.items():
        *facts, message = found[name]
        assert facts == ["ProviderApiError", code.status, name, "req_"]
        # Of a whole chat under /v1 the client shows no words; they are in the body.
        assert (MESSAGE in message) == (streamed or path != "/v1")
    assert refused.questions == dict.fromkeys(CODES, 1)

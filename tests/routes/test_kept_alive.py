"""Whole answers that take long: line breaks keep proxies from ending a connection on which nothing comes."""

import json
from typing import Any

import pytest

from tests.routes.conftest import Deployment
from tests.support.asgi_exchange import Exchange, posted

MODEL = "sightline/tiny"
CHAT = {"model": MODEL, "messages": [{"role": "user", "content": "What is this?"}]}
CALLS: dict[str, tuple[str, dict[str, Any]]] = {
    "chat": ("/v1/chat/completions", CHAT),
    "response": ("/v1/responses", {"model": MODEL, "input": "What is this?"}),
    "raw": (f"/models/{MODEL}", {"inputs": "What is this?"}),
}
calls = pytest.mark.parametrize(("path", "body"), CALLS.values(), ids=CALLS)
pytestmark = pytest.mark.parametrize(
    "deployment", [{"api": {"keepalive_s": 0.01}}], indirect=True, ids=["impatient"]
)


async def kept_alive(deployment: Deployment, path: str, body: dict[str, Any]) -> Exchange:
    deployment.worker.beat()
    call = posted(deployment.app, body, path, prefer="wait")
    await call.until(lambda e: e.body.startswith(b"\n\n\n"))
    assert (call.status, call.headers["content-type"]) == (200, "application/json")
    assert call.headers["preference-applied"] == "wait"
    return call


@calls
async def test_who_prefers_to_wait_hears_something_until_the_answer_is_there(
    deployment: Deployment, path: str, body: dict[str, Any]
) -> None:
    call = await kept_alive(deployment, path, body)
    while not deployment.worker.idle():
        deployment.worker.succeed(deployment.worker.take(), "A square.")
    await call.finish()
    assert "content-length" not in call.headers
    assert "A square." in json.dumps(json.loads(call.body))


@calls
async def test_an_error_after_the_first_line_break_stands_in_the_body(
    deployment: Deployment, path: str, body: dict[str, Any]
) -> None:
    call = await kept_alive(deployment, path, body)
    deployment.worker.fail(deployment.worker.take(), "invalid_image", "The picture is broken.")
    await call.finish()
    assert json.loads(call.body)["error"]
    assert b'"invalid_image"' in call.body

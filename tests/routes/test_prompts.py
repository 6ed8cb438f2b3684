"""Text completions: one prompt a call."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from api.admission.submission import CheckedRequest, Submission
from shared.result import Choice, Piece, Result, Usage
from shared.store import claims
from shared.store.acknowledgement import StoreUnreachable
from shared.store.admission import Submitted
from tests.routes.conftest import Deployment
from tests.support.app import client_of
from tests.support.asgi_exchange import data, posted
from tests.support.clients import until_async
from tests.support.scripted_worker import FINGERPRINT

TEXTS = "/v1/completions"
ASKED: dict[str, Any] = {"model": "sightline/tiny", "prompt": "a dog"}
OFTEN = {"include_usage": True, "continuous_usage_stats": True}
COUNTED: dict[str, Any] = {"stream": True, "stream_options": OFTEN}


@pytest.fixture
async def http(deployment: Deployment) -> AsyncIterator[httpx.AsyncClient]:
    deployment.worker.beat()
    async with client_of(deployment.app) as found:
        yield found


async def jobs(http: httpx.AsyncClient, status: str) -> list[str]:
    page = (await http.get("/v1/jobs", params={"status": status, "limit": 100})).json()
    return [job["id"] for job in page["data"]]


async def until_there_are(http: httpx.AsyncClient, count: int, status: str) -> None:
    async def there() -> bool:
        return len(await jobs(http, status)) == count

    await until_async(there)


def say(deployment: Deployment, claim: claims.Claim, text: str, start: int = 0) -> None:
    piece = Piece(start, text, (7, 8), prompt_tokens=5)
    assert deployment.worker.store.run(claims.append(claim, piece)) == "ok"


def settle(deployment: Deployment, claim: claims.Claim, text: str) -> None:
    result = Result(
        choices=(Choice(text=text, finish_reason="length"),),
        usage=Usage(prompt_tokens=9, completion_tokens=6, cached_tokens=4),
        fingerprint=FINGERPRINT,
        compute_s=0.25,
    )
    deployment.worker.store.run(
        claims.settle(deployment.worker.settings, claim, result, fingerprint=FINGERPRINT)
    )


async def test_every_chunk_counts_where_that_is_asked_for(
    deployment: Deployment, http: httpx.AsyncClient
) -> None:
    call = posted(deployment.app, ASKED | COUNTED, TEXTS)
    await until_there_are(http, 1, "queued")
    claim = deployment.worker.take()
    say(deployment, claim, "wet")
    say(deployment, claim, " fur", start=3)
    await call.until(lambda e: b" fur" in e.body)
    settle(deployment, claim, "wet fur")
    await call.finish()
    *chunks, usage, _ = data(call.body)
    counts = [(c["choices"][0]["index"], c["usage"] and c["usage"]["completion_tokens"]) for c in chunks]
    assert counts == [(0, 2), (0, 4), (0, 4)]
    assert chunks[0]["usage"] == {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
    assert usage["usage"]["completion_tokens"] == 6


@pytest.mark.parametrize(
    ("prompt", "code", "param"),
    [
        (["b" * 2048], "context_length_exceeded", "prompt[0]"),
        (["a", "b"], "invalid_request", "prompt"),
        (["a", 5], "invalid_request", "prompt[1]"),
        ([[5, 6], [7]], "invalid_request", "prompt[0]"),
        ([], "invalid_request", "prompt"),
    ],
)
@pytest.mark.parametrize("deployment", [{"api": {"text_limit_kb": 1}}], indirect=True)
async def test_a_prompt_that_cannot_be_computed_is_named_and_nothing_is(
    http: httpx.AsyncClient, prompt: list[Any], code: str, param: str
) -> None:
    reply = await http.post(TEXTS, json=ASKED | {"prompt": prompt})
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, code)
    assert reply.json()["error"]["param"] == param
    assert (await http.get("/v1/jobs")).json()["data"] == []


async def test_a_job_whose_caller_never_learns_that_it_was_taken_is_computed_for_nobody(
    http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    store_request, lost = Submission._store_request, StoreUnreachable()
    lost.retry_after = 0

    async def without_reply(self: Submission, checked: CheckedRequest) -> Submitted:
        await store_request(self, checked)
        raise lost

    monkeypatch.setattr(Submission, "_store_request", without_reply)
    assert (await http.post(TEXTS, json=ASKED)).status_code == 503
    await until_there_are(http, 1, "cancelled")
    with_key = await http.post(TEXTS, json=ASKED | {"prompt": "a cat"}, headers={"idempotency-key": "k"})
    assert with_key.status_code == 503
    assert len(await jobs(http, "queued")) == 1

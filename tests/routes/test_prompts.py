"""Text completions: one prompt a call."""

from typing import Any

import pytest

from api.admission.submission import CheckedRequest, Submission
from shared.result import Piece
from shared.store import claims
from shared.store.acknowledgement import StoreUnreachable
from shared.store.admission import Submitted
from tests.routes.conftest import Deployment
from tests.support.app import client_of
from tests.support.asgi_exchange import data, posted
from tests.support.clients import until_async

TEXTS = "/v1/completions"
ASKED: dict[str, Any] = {"model": "sightline/tiny", "prompt": "a dog"}
OFTEN = {"include_usage": True, "continuous_usage_stats": True}
COUNTED: dict[str, Any] = {"stream": True, "stream_options": OFTEN}


async def test_every_chunk_counts_where_that_is_asked_for(deployment: Deployment) -> None:
    worker = deployment.worker
    worker.beat()
    call = posted(deployment.app, ASKED | COUNTED, TEXTS)
    claim = await worker.taken()
    for start, text in ((0, "wet"), (3, " fur")):
        piece = Piece(start, text, (7, 8), prompt_tokens=5)
        assert worker.store.run(claims.append(claim, piece)) == "ok"
    await call.until(lambda e: b" fur" in e.body)
    worker.succeed(claim, "wet fur")
    await call.finish()
    *chunks, usage, _ = data(call.body)
    counts = [(c["choices"][0]["index"], c["usage"] and c["usage"]["completion_tokens"]) for c in chunks]
    assert counts == [(0, 2), (0, 4), (0, 4)]
    assert chunks[0]["usage"] == {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
    assert usage["usage"]["completion_tokens"] == 3


async def test_a_job_whose_caller_never_learns_that_it_was_taken_is_computed_for_nobody(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    store_request, lost = Submission._store_request, StoreUnreachable()
    lost.retry_after = 0

    async def without_reply(self: Submission, checked: CheckedRequest) -> Submitted:
        await store_request(self, checked)
        raise lost

    monkeypatch.setattr(Submission, "_store_request", without_reply)
    deployment.worker.beat()
    async with client_of(deployment.app) as http:

        async def jobs(status: str) -> bool:
            return len((await http.get("/v1/jobs", params={"status": status})).json()["data"]) == 1

        assert (await http.post(TEXTS, json=ASKED)).status_code == 503
        await until_async(lambda: jobs("cancelled"))
        with_key = await http.post(TEXTS, json=ASKED | {"prompt": "a cat"}, headers={"idempotency-key": "k"})
        assert with_key.status_code == 503
        assert await jobs("queued")

"""Logprobs through the doors: streamed with their text, whole at the end, never from a hit without them."""

from typing import Any

import pytest

from shared.result import Candidate, Choice, Logprobs, Piece, Result, TokenLogprob, Usage
from shared.store import claims
from tests.routes.conftest import Deployment
from tests.support.app import client_of
from tests.support.asgi_exchange import data
from tests.support.scripted_worker import FINGERPRINT

TINY = "sightline/tiny"
RED, BLUE = Candidate(" red", -0.25), Candidate(" blue", -1.5)
TOLD: Logprobs = (TokenLogprob(0, RED, (RED, BLUE)), TokenLogprob(4, BLUE, (RED, BLUE)))
CHAT = {"model": TINY, "messages": [{"role": "user", "content": "What is this?"}]}
JOB = {"model": TINY, "input": {"prompt": "What is this?"}}
PLAIN: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": CHAT,
    "/v1/jobs": JOB,
}
TELLING: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": CHAT | {"logprobs": True, "top_logprobs": 2},
    "/v1/jobs": JOB | {"parameters": {"logprobs": True, "top_logprobs": 2}},
}


def answer(deployment: Deployment, told: Logprobs | None) -> None:
    """As a worker that says it in two pieces."""
    claim = deployment.worker.take()
    texts = (" red", " blue")
    for at, text in enumerate(texts):
        piece = Piece(4 * at, text, (at,), None if told is None else told[at : at + 1])
        deployment.worker.store.run(claims.append(claim, piece))
    result = Result(
        choices=(Choice(text="".join(texts), finish_reason="stop", logprobs=told),),
        usage=Usage(prompt_tokens=9, completion_tokens=3),
        fingerprint=FINGERPRINT,
        compute_s=0.25,
    )
    deployment.worker.store.run(
        claims.settle(deployment.worker.settings, claim, result, fingerprint=FINGERPRINT)
    )


@pytest.mark.parametrize("path", TELLING)
async def test_an_answer_without_logprobs_is_none_to_who_asks_so(deployment: Deployment, path: str) -> None:
    deployment.worker.beat()
    async with client_of(deployment.app) as client:
        await client.post("/v1/jobs", json=JOB)
        answer(deployment, None)
        asked = await client.post("/v1/jobs", json=TELLING["/v1/jobs"])
        answer(deployment, TOLD)
        plain = await client.post(path, json=PLAIN[path])
        telling = await client.post(path, json=TELLING[path])

    assert [r.headers["x-cache"] for r in (asked, plain, telling)] == ["MISS", "HIT", "HIT"]
    assert "-0.25" not in plain.text
    assert "-0.25" in telling.text


async def test_a_chat_tells_the_same_whole_and_streamed(deployment: Deployment) -> None:
    deployment.worker.beat()
    asked = TELLING["/v1/chat/completions"]
    async with client_of(deployment.app) as client:
        await client.post("/v1/jobs", json=TELLING["/v1/jobs"])
        answer(deployment, TOLD)
        whole = (await client.post("/v1/chat/completions", json=asked)).json()["choices"][0]
        chunks = data((await client.post("/v1/chat/completions", json=asked | {"stream": True})).content)[:-1]

    told = [c["choices"][0]["logprobs"] for c in chunks]
    assert [None if t is None else len(t["content"]) for t in told] == [None, 1, 1, None]
    assert [e for t in told if t for e in t["content"]] == whole["logprobs"]["content"]
    assert "".join(e["token"] for e in whole["logprobs"]["content"]) == whole["message"]["content"]


async def test_a_jobs_events_tell_what_its_result_tells(deployment: Deployment) -> None:
    deployment.worker.beat()
    async with client_of(deployment.app) as client:
        job = (await client.post("/v1/jobs", json=TELLING["/v1/jobs"])).json()
        answer(deployment, TOLD)
        events = data((await client.get(job["urls"]["events"])).content)

    streamed = [entry for event in events for entry in event.get("logprobs", ())]
    assert streamed == events[-1]["job"]["result"]["choices"][0]["logprobs"]

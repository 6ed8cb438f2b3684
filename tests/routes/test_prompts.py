"""Several prompts in one text completion: as many jobs, answered as one, admitted all or none."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import openai
import pytest

from api.admission.submission import CheckedRequest, Submission
from api.jobs.disconnects import Disconnects
from shared.errors import Unavailable
from shared.job import JobView
from shared.request import Request
from shared.result import Choice, Piece, Result, Usage
from shared.store import claims
from shared.store.acknowledgement import StoreUnreachable
from shared.store.admission import Submitted
from tests.routes.conftest import Deployment
from tests.support.app import client_of
from tests.support.asgi_exchange import Exchange, data, posted
from tests.support.batches import asked, serving
from tests.support.clients import until_async
from tests.support.scripted_worker import FINGERPRINT

TEXTS = "/v1/completions"
TWO: dict[str, Any] = {"model": "sightline/tiny", "prompt": ["a cat", "a dog"]}
DRAWN: dict[str, Any] = TWO | {"n": 2, "temperature": 1, "seed": 1}
STREAM: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}}
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


async def taken(deployment: Deployment, http: httpx.AsyncClient, count: int) -> dict[str, claims.Claim]:
    """What waits, by its question, as soon as there is so much."""
    await until_there_are(http, count, "queued")
    found = [deployment.worker.take() for _ in range(count)]
    return {asked(claim.request): claim for claim in found}


def tells(text: str, call: Exchange) -> bool:
    return f'"{text}"'.encode() in call.body


def say(
    deployment: Deployment, claim: claims.Claim, text: str, start: int = 0, choice: int | None = None
) -> None:
    piece = Piece(start, text, (7, 8), choice=choice, prompt_tokens=5)
    assert deployment.worker.store.run(claims.append(claim, piece)) == "ok"


def several(deployment: Deployment, claim: claims.Claim, *texts: str) -> None:
    result = Result(
        choices=tuple(Choice(text=text, finish_reason="length") for text in texts),
        usage=Usage(prompt_tokens=9, completion_tokens=6, cached_tokens=4),
        fingerprint=FINGERPRINT,
        compute_s=0.25,
    )
    deployment.worker.store.run(
        claims.settle(deployment.worker.settings, claim, result, fingerprint=FINGERPRINT)
    )


async def test_every_prompt_is_answered_in_its_place_and_counted(
    deployment: Deployment, client: openai.AsyncOpenAI
) -> None:
    async with serving(deployment.worker):
        answer = await client.completions.create(**TWO)
    told = [(choice.index, choice.text, choice.finish_reason) for choice in answer.choices]
    assert told == [(0, "A CAT", "stop"), (1, "A DOG", "stop")]
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (
        18,
        6,
        24,
    )


async def test_several_answers_to_each_are_numbered_prompt_by_prompt(
    deployment: Deployment, http: httpx.AsyncClient
) -> None:
    call = posted(deployment.app, DRAWN, TEXTS)
    found = await taken(deployment, http, 2)
    several(deployment, found["a dog"], "wet", "old")
    several(deployment, found["a cat"], "black", "red")
    await call.finish()
    whole = data(b"data: " + call.body)[0]
    assert [(c["index"], c["text"]) for c in whole["choices"]] == list(
        enumerate(["black", "red", "wet", "old"])
    )
    assert whole["usage"] == {
        "prompt_tokens": 18,
        "completion_tokens": 12,
        "total_tokens": 30,
        "prompt_tokens_details": {"cached_tokens": 8, "image_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0},
    }
    ids = call.headers["x-job-id"].split(", ")
    assert sorted(ids) == sorted(await jobs(http, "succeeded"))
    assert whole["id"] == f"cmpl-{ids[0].removeprefix('job_')}"


async def test_a_stream_takes_one_prompt(http: httpx.AsyncClient) -> None:
    reply = await http.post(TEXTS, json=TWO | {"stream": True})
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, "stream")


async def test_every_chunk_counts_where_that_is_asked_for(
    deployment: Deployment, http: httpx.AsyncClient
) -> None:
    call = posted(deployment.app, TWO | COUNTED | {"prompt": "a dog"}, TEXTS)
    found = await taken(deployment, http, 1)
    say(deployment, found["a dog"], "wet")
    say(deployment, found["a dog"], " fur", start=3)
    await call.until(lambda e: b" fur" in e.body)
    several(deployment, found["a dog"], "wet fur")
    await call.finish()
    *chunks, usage, _ = data(call.body)
    counts = [(c["choices"][0]["index"], c["usage"] and c["usage"]["completion_tokens"]) for c in chunks]
    assert counts == [(0, 2), (0, 4), (0, 4)]
    assert chunks[0]["usage"] == {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
    assert usage["usage"]["completion_tokens"] == 6


@pytest.mark.parametrize(
    ("prompt", "code", "param"),
    [
        (["a", "b" * 2048], "context_length_exceeded", "prompt[1]"),
        (["a", "b", "c", "d"], "invalid_request", "prompt"),
        (["a", 5], "invalid_request", "prompt[1]"),
        ([[5, 6], [7]], "invalid_request", "prompt[0]"),
        ([], "invalid_request", "prompt"),
    ],
)
@pytest.mark.parametrize("deployment", [{"api": {"prompts_limit": 3, "text_limit_kb": 1}}], indirect=True)
async def test_one_bad_prompt_is_named_and_nothing_of_the_call_is_computed(
    http: httpx.AsyncClient, prompt: list[Any], code: str, param: str
) -> None:
    reply = await http.post(TEXTS, json=TWO | {"prompt": prompt})
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, code)
    assert reply.json()["error"]["param"] == param
    assert (await http.get("/v1/jobs")).json()["data"] == []


@pytest.mark.parametrize("deployment", [{"queue": {"max_queued_caller": 2}}], indirect=True)
async def test_what_the_line_has_no_room_for_leaves_nothing_behind(
    deployment: Deployment, http: httpx.AsyncClient
) -> None:
    reply = await http.post(TEXTS, json=TWO | {"prompt": ["a", "b", "c"]})
    assert (reply.status_code, reply.json()["error"]["code"]) == (429, "caller_queue_full")
    assert 1 <= int(reply.headers["retry-after"]) <= 60
    await until_there_are(http, 2, "cancelled")
    assert deployment.worker.idle()
    async with serving(deployment.worker):
        assert (await http.post(TEXTS, json=TWO)).status_code == 200


@pytest.mark.parametrize(
    ("fault", "status"), [(Unavailable("store_unavailable", "out of reach"), 503), (ZeroDivisionError(), 500)]
)
async def test_what_an_outage_or_a_fault_of_ours_stopped_is_left_in_a_while(
    http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, fault: Exception, status: int
) -> None:
    """The store may be back then."""
    submit, left = Submission.submit, list[bool]()

    async def interrupted(self: Submission, question: Request, *rest: Any) -> JobView:
        if "a dog" in question.texts:
            raise fault
        return await submit(self, question, *rest)

    monkeypatch.setattr(Submission, "submit", interrupted)
    monkeypatch.setattr(Disconnects, "cancel_later", lambda *_, at_once, **__: left.append(at_once))
    assert (await http.post(TEXTS, json=TWO)).status_code == status
    assert left == [False]


async def test_a_job_whose_caller_never_learns_that_it_was_taken_is_computed_for_nobody(
    http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    store_request, lost = Submission._store_request, StoreUnreachable()
    lost.retry_after = 0

    async def without_reply(self: Submission, checked: CheckedRequest) -> Submitted:
        await store_request(self, checked)
        raise lost

    monkeypatch.setattr(Submission, "_store_request", without_reply)
    assert (await http.post(TEXTS, json=TWO | {"prompt": "a cat"})).status_code == 503
    await until_there_are(http, 1, "cancelled")
    kept = await http.post(TEXTS, json=TWO | {"prompt": "a dog"}, headers={"idempotency-key": "k"})
    assert kept.status_code == 503
    assert len(await jobs(http, "queued")) == 1


@pytest.mark.parametrize("deployment", [{"queue": {"max_queued_caller": 2}}], indirect=True)
async def test_a_call_with_a_key_goes_on_where_the_line_stopped_it(
    deployment: Deployment, http: httpx.AsyncClient
) -> None:
    async def again() -> httpx.Response:
        three = TWO | {"prompt": ["a", "b", "c"]}
        return await http.post(TEXTS, json=three, headers={"idempotency-key": "k"})

    assert (await again()).status_code == 429
    first = await jobs(http, "queued")
    async with serving(deployment.worker):
        reply, repeated = await again(), await again()
    assert reply.status_code == 200
    assert set(first) < set(reply.headers["x-job-id"].split(", "))
    assert repeated.headers["x-job-id"] == reply.headers["x-job-id"]
    other = await http.post(TEXTS, json=TWO, headers={"idempotency-key": "k"})
    assert (other.status_code, other.json()["error"]["code"]) == (422, "idempotency_mismatch")


async def test_the_answer_to_many_prompts_passes_a_proxy_that_takes_short_heads(
    deployment: Deployment, http: httpx.AsyncClient
) -> None:
    async with serving(deployment.worker):
        body = TWO | {"prompt": ["a cat"] * 60}
        reply = await http.post(TEXTS, json=body, headers={"idempotency-key": "k"})
    named = reply.headers["x-job-id"]
    assert (len(reply.json()["choices"]), len(named) <= 2048) == (60, True)
    assert set(named.split(", ")) < set(await jobs(http, "succeeded"))


async def test_a_caller_who_hangs_up_leaves_all_jobs(deployment: Deployment, http: httpx.AsyncClient) -> None:
    call = posted(deployment.app, TWO, TEXTS)
    await until_there_are(http, 2, "queued")
    call.hang_up()
    await call.finish()
    await until_there_are(http, 2, "cancelled")
    assert deployment.worker.idle()


async def test_a_prompt_that_its_worker_refuses_ends_the_call(
    deployment: Deployment, http: httpx.AsyncClient
) -> None:
    call = posted(deployment.app, TWO, TEXTS)
    found = await taken(deployment, http, 2)
    deployment.worker.fail(found["a dog"], "context_length_exceeded", "It is too long.", "messages")
    await call.finish()
    error = data(b"data: " + call.body)[0]["error"]
    assert (call.status, error["code"], error["param"]) == (400, "context_length_exceeded", "prompt[1]")
    await until_there_are(http, 1, "cancelled")


async def test_a_caller_with_a_key_loses_none_of_its_other_answers_where_one_fails(
    deployment: Deployment, http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    left: list[JobView] = []
    monkeypatch.setattr(Disconnects, "cancel_later", lambda _, view, **__: left.append(view))
    call = posted(deployment.app, TWO, TEXTS, idempotency_key="k")
    found = await taken(deployment, http, 2)
    deployment.worker.fail(found["a dog"], "context_length_exceeded", "It is too long.", "messages")
    await call.finish()
    assert (call.status, left) == (400, [])


@pytest.mark.parametrize("deployment", [{"api": {"sync_limit_s": 0.6}}], indirect=True)
async def test_jobs_that_take_longer_than_their_caller_may_wait_go_on(http: httpx.AsyncClient) -> None:
    reply = await http.post(TEXTS, json=TWO, headers={"x-wait-for-model": "true"})
    assert (reply.status_code, reply.json()["error"]["code"]) == (504, "wait_exceeded")
    assert sorted(reply.headers["x-job-id"].split(", ")) == sorted(await jobs(http, "queued"))


async def test_each_prompt_is_known_by_itself(deployment: Deployment, http: httpx.AsyncClient) -> None:
    prompts = ("a cat", ["a cat", "a dog"], ["a dog", "a cat"], ["a dog", "a cat", "a cow", "a cow"])
    async with serving(deployment.worker):
        replies = [await http.post(TEXTS, json=TWO | {"prompt": prompt}) for prompt in prompts]
    assert [reply.headers["x-cache"] for reply in replies] == ["MISS", "MISS", "HIT", "MISS"]
    assert [c["text"] for c in replies[3].json()["choices"]] == ["A DOG", "A CAT", "A COW", "A COW"]


async def test_callers_of_the_same_prompts_share_their_runs(
    deployment: Deployment, http: httpx.AsyncClient
) -> None:
    first = posted(deployment.app, TWO, TEXTS)
    await until_there_are(http, 2, "queued")
    second: Exchange = posted(deployment.app, TWO, TEXTS)
    await until_there_are(http, 4, "queued")
    for claim in (deployment.worker.take(), deployment.worker.take()):
        several(deployment, claim, asked(claim.request).upper())
    await asyncio.gather(first.finish(), second.finish())
    assert (first.headers["x-cache"], second.headers["x-cache"]) == ("MISS", "COALESCED")
    assert [c["text"] for c in data(b"data: " + second.body)[0]["choices"]] == ["A CAT", "A DOG"]

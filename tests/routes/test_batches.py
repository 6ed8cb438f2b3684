"""Batches as OpenAI's client makes, watches and lists them; the worker is in the test's hand."""

from typing import Any, Literal

import openai
import pytest
from openai import AsyncOpenAI

from tests.routes.conftest import Deployment
from tests.support.app import client_of
from tests.support.batches import ENDPOINT, answers, asked, begun, content, ended, jsonl, line, rows, serving
from tests.support.clients import until_async

pytestmark = pytest.mark.usefixtures("quick_batches")

room = pytest.mark.parametrize("deployment", [{"queue": {"max_queued": 4000}}], indirect=True)


@room
async def test_each_line_of_a_batch_is_answered_once(deployment: Deployment, client: AsyncOpenAI) -> None:
    async with serving(deployment.worker):
        made = await begun(client, [line(f"q-{n}", f"text {n}") for n in range(70)], metadata={"night": "12"})
        batch = await ended(client, made)
    assert made.status == "validating"
    assert (batch.status, batch.error_file_id, batch.errors) == ("completed", None, None)
    assert batch.request_counts is not None
    assert batch.request_counts.to_dict() == {"total": 70, "completed": 70, "failed": 0}
    assert batch.metadata == {"night": "12"}
    times = [batch.created_at, batch.in_progress_at, batch.finalizing_at, batch.completed_at]
    assert sorted(times) == times  # type: ignore[type-var]
    assert batch.usage is not None
    assert (batch.usage.input_tokens, batch.usage.output_tokens) == (70 * 9, 70 * 3)
    found = await content(client, batch.output_file_id)
    assert answers(found) == {f"q-{n}": f"TEXT {n}" for n in range(70)}
    first = found[0]
    assert (first["error"], first["response"]["status_code"]) == (None, 200)
    assert first["response"]["body"]["object"] == "chat.completion"
    output = await client.files.retrieve(batch.output_file_id or "")
    assert (output.purpose, output.filename) == ("batch_output", f"{batch.id}_output.jsonl")


@room
async def test_a_batch_of_responses_is_answered_with_responses_that_can_be_asked_for(
    deployment: Deployment, client: AsyncOpenAI
) -> None:
    def said(id: str, **more: Any) -> dict[str, Any]:
        asked = {"model": "sightline/tiny", "input": "once", "instructions": "Be brief."}
        body = asked | {"metadata": {"k": id}} | more
        return {"custom_id": id, "method": "POST", "url": "/v1/responses", "body": body}

    bad = {"previous_response_id": "resp_0", "background": True, "store": False}
    lines: list[Any] = ["", "\x0c", said("1"), *(said(name, **{name: value}) for name, value in bad.items())]
    async with serving(deployment.worker):
        batch = await ended(client, await begun(client, lines, endpoint="/v1/responses"))
    (row,) = await content(client, batch.output_file_id)
    told = row["response"]["body"]
    assert (told["status"], told["output"][0]["content"][0]["text"]) == ("completed", "ONCE")
    assert (told["instructions"], told["metadata"]) == ("Be brief.", {"k": "1"})
    assert (await client.responses.retrieve(told["id"])).to_dict() == told
    refused = {
        row["custom_id"]: row["response"]["body"]["error"]
        for row in await content(client, batch.error_file_id)
    }
    assert {id: (error["code"], error["param"]) for id, error in refused.items()} == {
        name: ("unsupported_parameter", name) for name in bad
    }


@room
async def test_lines_are_ordinary_jobs_of_the_class_batch_and_are_answered_from_the_cache(
    deployment: Deployment, client: AsyncOpenAI
) -> None:
    same = [line(f"{n}", "the same") for n in range(4)]
    async with client_of(deployment.app) as caller:
        async with serving(deployment.worker):
            first = await ended(client, await begun(client, same))
            again = await ended(client, await begun(client, same))
        jobs = (await caller.get("/v1/jobs")).json()["data"]
    assert {job["priority"] for job in jobs} == {"batch"}
    assert [job["batch"] for job in jobs] == [again.id] * 4 + [first.id] * 4
    assert {job["cache"] for job in jobs[:4]} == {"HIT"}
    assert {job["cache"] for job in jobs[4:]} <= {"MISS", "COALESCED", "HIT"}
    found = await content(client, first.output_file_id)
    assert {row["response"]["request_id"] for row in found} == {job["id"] for job in jobs[4:]}
    assert len(await content(client, again.output_file_id)) == 4


async def test_a_batch_leaves_room_for_others(deployment: Deployment, client: AsyncOpenAI) -> None:
    deployment.worker.beat()
    made = await begun(client, [line(f"{n}", f"text {n}") for n in range(5)])
    await deployment.worker.waiting()
    async with client_of(deployment.app) as caller:
        body = {"model": "sightline/tiny", "input": {"prompt": "And me?"}}
        assert (await caller.post("/v1/jobs", json=body)).status_code == 202
    async with serving(deployment.worker):
        batch = await ended(client, made)
    assert batch.request_counts is not None
    assert batch.request_counts.completed == 5


@pytest.mark.parametrize(
    ("said", "param"),
    [
        ({"endpoint": "/v1/nothing"}, "endpoint"),
        ({"metadata": {"k": "v" * 513}}, "metadata.k"),
        ({"output_expires_after": {"anchor": "created_at", "seconds": 5}}, "output_expires_after"),
    ],
)
async def test_a_wrong_batch_is_refused_by_its_field(
    deployment: Deployment, client: AsyncOpenAI, said: dict[str, Any], param: str
) -> None:
    file = await client.files.create(file=jsonl([line("1")]), purpose="batch")
    body = {"endpoint": ENDPOINT, "completion_window": "24h", "input_file_id": file.id, **said}
    async with client_of(deployment.app) as caller:
        reply = await caller.post("/v1/batches", json=body)
        error = reply.json()["error"]
        assert (reply.status_code, error["code"], error["param"]) == (400, "invalid_request", param)
        assert (await caller.get("/v1/batches")).json()["data"] == []


async def test_a_call_that_is_sent_again_makes_no_second_batch(client: AsyncOpenAI) -> None:
    key = {"Idempotency-Key": "night-12"}
    file = await client.files.create(file=jsonl([line("1")]), purpose="batch")

    async def make(endpoint: Any, **headers: str) -> str:
        made = await client.batches.create(
            input_file_id=file.id, endpoint=endpoint, completion_window="24h", extra_headers=headers
        )
        return made.id

    first = await make(ENDPOINT, **key)
    assert await make(ENDPOINT, **key) == first
    with pytest.raises(openai.UnprocessableEntityError) as refusal:
        await make("/v1/responses", **key)
    assert (refusal.value.code, refusal.value.param) == ("idempotency_mismatch", "Idempotency-Key")
    other = await make(ENDPOINT, **{"Idempotency-Key": "night-13"})
    assert [batch.id async for batch in client.batches.list()] == [other, first]


@room
async def test_a_batch_says_when_it_will_end_while_its_lines_are_computed(
    deployment: Deployment, client: AsyncOpenAI
) -> None:
    deployment.worker.beat(service_ms="2000")
    made = await begun(client, [line(f"{n}", f"text {n}") for n in range(300)])

    async def estimate() -> dict[str, float] | None:
        shown = (await client.batches.retrieve(made.id)).to_dict()
        assert shown["estimate"] is None or shown["status"] == "in_progress"
        return shown["estimate"]  # type: ignore[return-value]

    async def known() -> dict[str, float] | Literal[False]:
        return await estimate() or False

    first = await until_async(known)
    # At two seconds a line, one at a time.
    assert 300 <= first["p50"] <= first["p90"] <= 86_400
    deployment.worker.succeed(deployment.worker.take(), "DONE")
    (listed,) = (await client.batches.list()).data
    assert listed.to_dict()["estimate"] is not None
    async with client_of(deployment.app) as operator:
        await operator.post("/v1/admin/models/sightline/tiny/pause")
    assert await estimate() is None


@room
async def test_rows_are_read_while_others_are_computed_and_failures_counted_by_reason(
    deployment: Deployment, client: AsyncOpenAI
) -> None:
    bad = [
        line("late", "no model") | {"body": {"messages": []}},
        line("later", "") | {"body": {"messages": 7}},
    ]
    made = await begun(client, [*bad, line("a", "one"), line("b", "two")])
    claims: list[Any] = []

    async def queued() -> bool:
        while not deployment.worker.idle():
            claims.append(deployment.worker.take())
        return len(claims) == 2

    async with client_of(deployment.app) as http:

        async def results(count: int) -> list[dict[str, Any]] | bool:
            reply = await http.get(f"/v1/batches/{made.id}/results")
            assert (reply.status_code, reply.headers["content-type"]) == (200, "application/jsonl")
            found = rows(reply.content)
            return found if len(found) == count else False

        await until_async(queued)
        claims.sort(key=lambda claim: asked(claim.request))
        deployment.worker.succeed(claims[0], "ONE")
        early = await until_async(lambda: results(3))
        running = (await http.get(f"/v1/batches/{made.id}")).json()
        deployment.worker.succeed(claims[1], "TWO")
        batch = await ended(client, made)
        late = await results(4)
        missing = await http.get("/v1/batches/batch_0/results")
    assert isinstance(early, list)
    assert isinstance(late, list)
    assert running["status"] == "in_progress"
    assert [(failure["code"], failure["count"]) for failure in running["failures"]] == [
        ("invalid_request", 2)
    ]
    files = await content(client, batch.output_file_id) + await content(client, batch.error_file_id)
    assert sorted(late, key=str) == sorted(files, key=str)
    assert all(row in late for row in early)
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "batch_not_found")

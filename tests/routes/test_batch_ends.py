"""How batches end before their time or after it, and what is left of them."""

from typing import Any

import pytest
from openai import AsyncOpenAI

from shared import ids
from tests.routes.conftest import Deployment
from tests.support.app import client_of
from tests.support.batches import answers, begun, content, ended, line, serving
from tests.support.clients import until_async
from tests.support.store import next_call

pytestmark = pytest.mark.usefixtures("quick_batches")

room = pytest.mark.parametrize("deployment", [{"queue": {"max_queued": 4000}}], indirect=True)


@room
@pytest.mark.parametrize("end", ["cancelled", "expired"])
async def test_a_batch_that_ends_early_keeps_what_was_done_and_names_what_was_not(
    deployment: Deployment, client: AsyncOpenAI, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    monkeypatch.setattr("api.batches.turn.IDLE_S", 0.2)
    deployment.worker.beat()
    made = await begun(client, [line(f"{n}", f"text {n}") for n in range(300)])
    for _ in range(3):
        deployment.worker.succeed(await deployment.worker.taken(), "IN TIME")
    if end == "cancelled":
        await client.batches.cancel(made.id)
    else:
        # As a day later.
        deployment.worker.store.client.hset(f"sl9:{made.id}", "expires_ms", 1)
    batch = await ended(client, made)
    assert (batch.status, getattr(batch, f"{end}_at") is not None) == (end, True)
    assert batch.request_counts is not None
    assert batch.request_counts.to_dict() == {"total": 300, "completed": 3, "failed": 297}
    done = answers(await content(client, batch.output_file_id))
    undone = await content(client, batch.error_file_id)
    assert done.keys() | {row["custom_id"] for row in undone} == {str(n) for n in range(300)}
    assert {(row["response"], row["error"]["code"]) for row in undone} == {(None, f"batch_{end}")}
    assert deployment.worker.idle()


@room
async def test_a_line_whose_job_ends_at_its_deadline_is_expired_though_nobody_worked_on_the_batch(
    deployment: Deployment, client: AsyncOpenAI
) -> None:
    deployment.worker.beat()
    made = await begun(client, [line("1")])
    await deployment.worker.waiting()
    deployment.worker.let_pass(86_401)
    batch = await ended(client, made)
    (row,) = await content(client, batch.error_file_id)
    assert (batch.status, row["error"]["code"]) == ("expired", "batch_expired")


@room
async def test_a_batch_goes_on_though_its_file_and_its_lines_jobs_are_deleted(
    deployment: Deployment, client: AsyncOpenAI
) -> None:
    deployment.worker.beat()
    made = await begun(client, [line("1", "one"), line("2", "two")])

    async def two() -> bool:
        return deployment.worker.queued() == 2

    await until_async(two)
    await client.files.delete(made.input_file_id)
    async with client_of(deployment.app) as caller:
        job, _ = (await caller.get("/v1/jobs")).json()["data"]
        await caller.delete(f"/v1/jobs/{job['id']}")
    async with serving(deployment.worker):
        batch = await ended(client, made)
    assert batch.request_counts is not None
    assert batch.request_counts.to_dict() == {"total": 2, "completed": 1, "failed": 1}
    (row,) = await content(client, batch.error_file_id)
    assert row["response"]["body"]["error"]["code"] == "job_cancelled"


@room
async def test_output_files_live_as_was_said(deployment: Deployment, client: AsyncOpenAI) -> None:
    async with serving(deployment.worker):
        life: Any = {"anchor": "created_at", "seconds": 7200}
        batch = await ended(client, await begun(client, [line("1")], output_expires_after=life))
    output = await client.files.retrieve(batch.output_file_id or "")
    assert output.expires_at == output.created_at + 7200


@room
async def test_a_batchs_webhook_gets_its_end_once_and_no_line(
    deployment: Deployment, client: AsyncOpenAI
) -> None:
    hook = {"url": "https://example.com/told", "secret": "a secret of sixteen bytes"}
    async with serving(deployment.worker):
        lines = [line("1", "one"), line("2", "two")]
        done = await ended(client, await begun(client, lines, extra_body={"webhook": hook}))
    failed = await ended(client, await begun(client, [""], extra_body={"webhook": hook}))
    run, settings, told = deployment.worker.store.run, deployment.worker.settings, []
    while call := next_call(run, settings, ids.token()):
        told.append((call.url, call.notice.type, call.notice.subject))
    assert sorted(told) == [
        (hook["url"], "batch.completed", done.id),
        (hook["url"], "batch.failed", failed.id),
    ]

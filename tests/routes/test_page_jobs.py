"""A document asked page by page: one job whose pages are jobs of their own, read in order."""

import json
from typing import Any

import httpx
import pytest
from openai import AsyncOpenAI

from shared import ids
from shared.job import Delivery
from shared.request import Request
from shared.store import webhooks
from shared.store.keys import PREFIX
from shared.store.webhooks import DueCall
from shared.webhooks import body_of
from tests.routes.conftest import Deployment
from tests.support.app import client_of
from tests.support.clients import until_async
from tests.support.documents import locked, pdf
from tests.support.store import next_call

pytestmark = pytest.mark.usefixtures("quick_batches")
PAGES = ["one", "two", "three", "four"]
HOOK_KEYS = (":hook", ":deliveries")
HOOK = {"url": "https://example.com/told", "secret": "a secret of sixteen bytes"}


async def upload(client: AsyncOpenAI, data: bytes) -> str:
    return (await client.files.create(file=("a.pdf", data), purpose="user_data")).id


def job(file: str, **more: Any) -> dict[str, Any]:
    document = {"file": file, "per": "page"} | more.pop("document", {})
    return {"model": "sightline/tiny", "document": document, "input": {"prompt": "What?"}} | more


async def post(deployment: Deployment, body: dict[str, Any], **headers: str) -> httpx.Response:
    async with client_of(deployment.app) as client:
        return await client.post("/v1/jobs", json=body, headers=headers)


async def get(deployment: Deployment, path: str) -> httpx.Response:
    async with client_of(deployment.app) as client:
        return await client.get(path)


async def work(deployment: Deployment, url: str) -> int:
    """A worker answers what waits until the job has ended; returns how many runs it computed."""
    computed = 0

    async def ended() -> bool:
        nonlocal computed
        while not deployment.worker.idle():
            claim = deployment.worker.take()
            computed += 1
            digest = Request.model_validate_json(claim.request).images[0].digest or ""
            deployment.worker.succeed(claim, f"page\u2028\x85{digest[:6]}")
        return (await get(deployment, url)).json()["ended_at"] is not None

    await until_async(ended)
    return computed


async def delivered(deployment: Deployment) -> DueCall | None:
    """A courier makes the next call, if one is due."""
    store, settings = deployment.worker.store, deployment.worker.settings
    due = next_call(store.run, settings, token=ids.token())
    if due:
        tried = Delivery(due.notice.type, due.notice.at_ms + 10, 5, 204)
        store.run(webhooks.report(settings, due, tried))
    return due


def rows(reply: httpx.Response) -> list[dict[str, Any]]:
    return [json.loads(line) for line in reply.text.splitlines()]


async def test_each_page_is_answered_once_in_order(deployment: Deployment, client: AsyncOpenAI) -> None:
    deployment.worker.beat()
    file = await upload(client, pdf(PAGES))
    made = await post(deployment, job(file, metadata={"order": "7"}))
    assert (made.status_code, made.json()["status"], made.json()["ends_in_s"] > 0) == (202, "queued", True)
    urls = made.json()["urls"]
    assert await work(deployment, urls["self"]) == len(PAGES)
    ended = (await get(deployment, urls["self"])).json()
    assert (ended["status"], ended["pages"]) == ("succeeded", {"total": 4, "succeeded": 4, "failed": 0})
    assert ended["metadata"] == {"order": "7"}
    assert ended["question"] == {"text": "What?", "pictures": 0}
    pages = rows(await get(deployment, urls["pages"]))
    assert [row["page"] for row in pages] == [1, 2, 3, 4]
    assert len({row["text"] for row in pages}) == len({row["job"] for row in pages}) == 4
    text = (await get(deployment, urls["pages"] + "?format=text")).text
    assert text == "\n\n".join(row["text"] for row in pages)
    events = (await get(deployment, urls["events"])).text
    assert [line for line in events.splitlines() if line.startswith("event")] == [
        *["event: page"] * 4,
        "event: succeeded",
    ]


async def test_its_own_webhook_is_told_once_of_the_whole_and_shows_what_became_of_it(
    deployment: Deployment, client: AsyncOpenAI
) -> None:
    deployment.worker.beat()
    made = await post(
        deployment, job(await upload(client, pdf(PAGES)), webhook=HOOK, metadata={"order": "7"})
    )
    urls = made.json()["urls"]
    assert made.json()["webhook"]["deliveries"] == []
    await work(deployment, urls["self"])
    due = await delivered(deployment)
    assert due is not None
    assert (due.url, due.secrets) == (HOOK["url"], (HOOK["secret"],))
    told = json.loads(body_of(due.notice))
    assert (told["type"], told["data"]["id"]) == ("job.succeeded", made.json()["id"])
    assert told["data"]["pages"] == {"total": 4, "succeeded": 4, "failed": 0}
    assert told["data"]["metadata"] == {"order": "7"}
    assert await delivered(deployment) is None
    async with client_of(deployment.app) as caller:
        assert (await caller.post(f"{urls['self']}/webhook/redeliver")).status_code == 202
    again = await delivered(deployment)
    assert (again and body_of(again.notice)) == body_of(due.notice)
    shown = (await get(deployment, urls["self"])).json()["webhook"]
    assert [row["status"] for row in shown["deliveries"]] == [204, 204]
    assert shown["delivered_at"] > 0
    left = [deployment.worker.store.client.ttl(f"{PREFIX}{told['data']['id']}{part}") for part in HOOK_KEYS]
    assert min(left) > 0, "they go with the job's record"


async def test_the_same_document_asked_again_computes_no_page_and_one_page_replaced_computes_one(
    deployment: Deployment, client: AsyncOpenAI
) -> None:
    deployment.worker.beat()
    counts = []
    for pages in (PAGES, PAGES, [*PAGES[:2], "another", PAGES[3]]):
        made = await post(deployment, job(await upload(client, pdf(pages))))
        counts.append(await work(deployment, made.json()["urls"]["self"]))
    assert counts == [4, 0, 1]


async def test_only_the_pages_that_are_named_are_asked_in_the_callers_order(
    deployment: Deployment, client: AsyncOpenAI
) -> None:
    deployment.worker.beat()
    made = await post(deployment, job(await upload(client, pdf(PAGES)), document={"pages": "4,2-3"}))
    urls = made.json()["urls"]
    assert await work(deployment, urls["self"]) == 3
    assert [row["page"] for row in rows(await get(deployment, urls["pages"]))] == [4, 2, 3]


def thin(*numbers: int) -> bytes:
    """A document some of whose pages cannot be rendered."""
    data = pdf(PAGES)
    for number in numbers:
        place = f"/Contents {3 + 2 * number}".encode()
        data = data.replace(b"[0 0 595 842]" + place, b"[0 0 1 99842]" + place)
    return data


async def test_a_job_with_broken_pages_answers_the_others(
    deployment: Deployment, client: AsyncOpenAI
) -> None:
    deployment.worker.beat()
    urls = (await post(deployment, job(await upload(client, thin(1, 2))))).json()["urls"]
    assert await work(deployment, urls["self"]) == 2
    pages = rows(await get(deployment, urls["pages"]))
    assert [row["status"] for row in pages] == ["failed", "failed", "succeeded", "succeeded"]
    assert "Page 1 of the document cannot be rendered" in pages[0]["error"]["message"]
    refused = await post(deployment, job(await upload(client, thin(1, 2, 3, 4))))
    assert (refused.json()["code"], refused.json()["param"]) == ("invalid_document", "document.file")


async def test_a_job_of_pages_is_cancelled_as_a_whole_and_keeps_what_it_has(
    deployment: Deployment, client: AsyncOpenAI
) -> None:
    deployment.worker.beat()
    urls = (await post(deployment, job(await upload(client, pdf(PAGES))))).json()["urls"]
    deployment.worker.succeed(await deployment.worker.taken(), "first")
    async with client_of(deployment.app) as caller:
        await caller.post(urls["cancel"])
    await work(deployment, urls["self"])
    ended = (await get(deployment, urls["self"])).json()
    assert ended["status"] == "cancelled"
    kept = rows(await get(deployment, urls["pages"]))
    assert [row["page"] for row in kept] == [1, 2, 3, 4]
    assert kept[0]["status"] == "succeeded"
    assert {row["error"]["code"] for row in kept if row["status"] == "failed"} <= {"batch_cancelled"}


async def test_a_repeat_under_a_key_is_the_same_job(deployment: Deployment, client: AsyncOpenAI) -> None:
    deployment.worker.beat()
    body = job(await upload(client, pdf(PAGES)))
    key = {"Idempotency-Key": "pages"}
    first, again = await post(deployment, body, **key), await post(deployment, body, **key)
    other = await post(deployment, body | {"metadata": {"a": "b"}}, **key)
    assert first.json()["id"] == again.json()["id"]
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_mismatch")


@pytest.mark.parametrize(
    ("data", "more", "code", "param"),
    [
        (locked(), {}, "invalid_document", "document.file"),
        (b"no document", {}, "invalid_document", "document.file"),
        (pdf(PAGES), {"document": {"pages": "9"}}, "invalid_document", "document.file"),
        (pdf(["a"] * 1001), {}, "invalid_document", "document.file"),
        (pdf(PAGES), {"document": {"per": "line"}}, "invalid_request", "document.per"),
        (pdf(PAGES), {"webhook": HOOK | {"events": ["job.running"]}}, "invalid_request", "webhook.events"),
        (pdf(PAGES), {"webhook": HOOK | {"url": "ftp://x"}}, "invalid_webhook_url", "webhook.url"),
        (pdf(PAGES), {"priority": "interactive"}, "unsupported_parameter", "priority"),
        (pdf(PAGES), {"store": False}, "unsupported_parameter", "store"),
        (pdf(PAGES), {"parameters": {"logprobs": True}}, "unsupported_parameter", "parameters.logprobs"),
        (pdf(PAGES), {"model": "none"}, "model_not_found", "model"),
        (pdf(PAGES), {"document": {"file": "file-none"}}, "file_not_found", "document.file"),
    ],
)
async def test_what_cannot_become_a_job_of_pages_is_refused_at_once_by_its_field(
    deployment: Deployment,
    client: AsyncOpenAI,
    data: bytes,
    more: dict[str, Any],
    code: str,
    param: str,
) -> None:
    deployment.worker.beat()
    refused = await post(deployment, job(await upload(client, data), **more))
    assert (refused.json()["code"], refused.json()["param"]) == (code, param)


async def test_a_job_of_pages_is_no_ordinary_job(deployment: Deployment, client: AsyncOpenAI) -> None:
    deployment.worker.beat()
    url = (await post(deployment, job(await upload(client, pdf(PAGES))))).json()["urls"]["self"]
    async with client_of(deployment.app) as caller:
        replies = [await caller.get(url + "/request"), await caller.post(url + "/retry")]
        replies.append(await caller.delete(url))
        nobodys = await caller.delete("/v1/jobs/batch_none")
        together = await caller.post("/v1/jobs/cancel", json={"ids": [url.rpartition("/")[2]]})
    assert {(reply.status_code, reply.json()["code"]) for reply in replies} == {(400, "invalid_request")}
    assert (nobodys.status_code, nobodys.json()["code"]) == (404, "job_not_found")
    assert "by its own URL" in together.text
    assert await work(deployment, url) == len(PAGES), "it goes on"


async def test_a_browser_that_comes_back_after_the_last_event_is_told_that_it_was_the_last(
    deployment: Deployment, client: AsyncOpenAI
) -> None:
    deployment.worker.beat()
    urls = (await post(deployment, job(await upload(client, pdf(PAGES[:2]))))).json()["urls"]
    await work(deployment, urls["self"])
    async with client_of(deployment.app) as caller:
        events = f"{urls['self']}/events"
        part = await caller.get(events, headers={"last-event-id": "1"})
        again = await caller.get(events, headers={"last-event-id": "3"})
        asked = await caller.get(events, params={"after": "1"})
    assert [line for line in part.text.splitlines() if line.startswith("id:")] == ["id: 2", "id: 3"]
    assert asked.text == part.text
    assert (again.status_code, again.text) == (204, "")

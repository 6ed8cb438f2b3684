"""The log of what a caller was told, as it is read."""

import pytest

from shared.store import webhook_events
from shared.webhooks import body_of
from tests.routes.conftest import Deployment
from tests.routes.test_endpoints import ended, endpoint
from tests.routes.test_webhooks import told
from tests.support.app import client_of


async def test_the_log_lists_the_bytes_that_were_told(deployment: Deployment) -> None:
    async with client_of(deployment.app) as client:
        await endpoint(client)
        await ended(deployment, client, 'A "cat" \\ 🖼.')
        call = told(deployment)
        reply = await client.get("/v1/events")
    assert body_of(call.notice)[1:].encode() in reply.content.replace(b'", "', b'","')


async def test_the_log_is_read_in_pages_and_goes_on_where_a_reader_stopped(deployment: Deployment) -> None:
    async with client_of(deployment.app) as client:
        jobs = [await ended(deployment, client) for _ in range(3)]
        first = (await client.get("/v1/events", params={"limit": 2})).json()
        second = (await client.get("/v1/events", params={"limit": 2, "after": first["last_id"]})).json()
        third = (await client.get("/v1/events", params={"after": second["last_id"]})).json()
    assert [e["data"]["id"] for e in first["data"] + second["data"]] == jobs
    assert (first["has_more"], second["has_more"]) == (True, False)
    assert (third["data"], third["last_id"], third["has_more"]) == ([], None, False)


async def test_long_answers_are_listed_a_few_at_a_time_and_none_is_left_out(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook_events, "PAGE_BYTES", 10_000)
    seen: list[int] = []
    async with client_of(deployment.app) as client:
        for text in ("short", "long" * 5_000, "short", "long" * 5_000):
            await ended(deployment, client, text)
        query: dict[str, str] = {}
        while (page := (await client.get("/v1/events", params=query)).json())["has_more"]:
            seen.append(len(page["data"]))
            query["after"] = page["last_id"]

    assert [*seen, len(page["data"])] == [2, 2]


async def test_an_event_s_id_reaches_no_other_record_of_a_caller(deployment: Deployment) -> None:
    async with client_of(deployment.app) as client:
        hook = (await endpoint(client))["id"]
        deployment.worker.store.client.rpush(f"sl8:{hook}:deliveries", "{}")
        reply = await client.post(f"/v1/webhooks/{hook}/deliveries/msg_{hook}_deliveries/replay")
    assert (reply.status_code, reply.json()["code"]) == (404, "event_not_found")

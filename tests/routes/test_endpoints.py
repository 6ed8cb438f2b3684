"""Webhooks of a caller, and the log of events, at the door and over the real store."""

from itertools import count
from typing import Any

import pytest

from shared.store import headroom
from shared.store.headroom import Memory, memory
from shared.store.script import ScriptCall
from shared.webhooks import key_of
from tests.routes.conftest import Deployment
from tests.routes.test_webhooks import HOOKED, URL, next_delivery, told
from tests.support.app import client_of
from tests.support.keys import KEYED, code_of, customer

ASKED = {"model": "sightline/tiny", "input": {"prompt": "What is this?"}}
ENDPOINT = {"url": "https://shop.example/told", "description": "The shop"}
MADE = {
    "object": "webhook",
    "url": "https://shop.example/told",
    "events": ["job.succeeded", "job.failed", "job.cancelled", "batch.*"],
    "description": "The shop",
    "enabled": True,
    "disabled_reason": None,
    "disabled_at": None,
    "former_until": None,
}


async def endpoint(client: Any, **said: Any) -> dict[str, Any]:
    reply = await client.post("/v1/webhooks", json=ENDPOINT | said)
    assert reply.status_code == 201, reply.text
    return dict(reply.json())


async def ended(deployment: Deployment, client: Any, text: str = "A cat.") -> str:
    """A job that succeeded; its id."""
    deployment.worker.beat()
    job = (await client.post("/v1/jobs", json=ASKED, headers={"x-use-cache": "false"})).json()["id"]
    deployment.worker.succeed(deployment.worker.take(), text)
    return str(job)


async def test_a_new_webhook_shows_its_secret_once(deployment: Deployment) -> None:
    async with client_of(deployment.app) as client:
        new = await endpoint(client)
        path = f"/v1/webhooks/{new['id']}"
        seen = [await client.get(path), await client.get("/v1/webhooks")]
        seen += [await client.patch(path, json={"description": "Ours"}), await client.post(f"{path}/test")]
        seen += [await client.get(f"{path}/deliveries"), await client.get("/v1/events")]
    assert new == MADE | {n: new[n] for n in ("id", "created_at", "secret")}
    assert new["secret"].startswith("whsec_")
    assert len(key_of(new["secret"])) == 24
    assert [reply.status_code for reply in seen] == [200, 200, 200, 202, 200, 200]
    assert not any(new["secret"] in reply.text for reply in seen)
    assert seen[1].json()["data"] == [seen[0].json()]


async def test_a_webhook_is_changed_and_forgotten(deployment: Deployment) -> None:
    async with client_of(deployment.app) as client:
        path = f"/v1/webhooks/{(await endpoint(client))['id']}"
        changed = await client.patch(path, json={"events": ["job.*"], "enabled": False, "description": ""})
        gone = await client.delete(path)
        again = await client.get(path)
    said = changed.json()
    assert (said["events"], said["enabled"], said["disabled_reason"]) == (["job.*"], False, "caller")
    assert (said["description"], said["url"], said["disabled_at"] > 0) == ("", ENDPOINT["url"], True)
    assert (gone.status_code, again.status_code, again.json()["code"]) == (204, 404, "webhook_not_found")
    assert again.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("said", "code", "param"),
    [
        ({}, "invalid_request", "url"),
        ({"url": "http://10.0.0.1/"}, "invalid_webhook_url", "url"),
        ({"url": "https://me:pw@example.com/"}, "invalid_webhook_url", "url"),
        ({"url": "https://example.com/", "events": []}, "invalid_request", "events"),
        ({"url": "https://example.com/", "events": ["job.queued"]}, "invalid_request", "events[0]"),
        ({"url": "https://example.com/", "events": ["job.*"] * 101}, "invalid_request", "events"),
        ({"url": "https://example.com/", "events": ["*"]}, "invalid_request", "events[0]"),
        ({"url": "https://example.com/", "description": "a\nb"}, "invalid_request", "description"),
        ({"url": "https://example.com/", "description": "x" * 201}, "invalid_request", "description"),
        ({"url": "https://example.com/", "secret": "mine and long enough"}, "unknown_field", "secret"),
    ],
)
async def test_what_cannot_be_told_is_refused(
    deployment: Deployment, said: Any, code: str, param: str
) -> None:
    async with client_of(deployment.app) as client:
        refused = await client.post("/v1/webhooks", json=said)
        path = f"/v1/webhooks/{(await endpoint(client))['id']}"
        change = await client.patch(path, json=said)
        kept = (await client.get(path)).json()
    assert (refused.status_code, refused.json()["code"], refused.json()["param"]) == (400, code, param)
    if said:
        assert (change.json()["code"], change.json()["param"]) == (code, param)
    assert kept["url"] == ENDPOINT["url"]


async def test_a_seventeenth_webhook_is_refused(deployment: Deployment) -> None:
    async with client_of(deployment.app) as client:
        for _ in range(16):
            await endpoint(client)
        refused = await client.post("/v1/webhooks", json=ENDPOINT)
    assert (refused.status_code, refused.json()["code"]) == (409, "too_many_webhooks")
    assert refused.headers["x-should-retry"] == "false"


async def test_a_job_that_names_no_webhook_is_told_to_all_and_logged_alike(deployment: Deployment) -> None:
    async with client_of(deployment.app) as client:
        first, second = await endpoint(client), await endpoint(client, url="https://two.example/")
        job = await ended(deployment, client)
        calls = [told(deployment), told(deployment)]
        (event,) = (await client.get("/v1/events")).json()["data"]
        seen = (await client.get(f"/v1/jobs/{job}")).json()
    assert {call.url for call in calls} == {first["url"], second["url"]}
    assert {call.notice.id for call in calls} == {event["id"]}
    assert event["data"] == {name: seen[name] for name in event["data"]}
    assert (event["type"], event["data"]["id"]) == ("job.succeeded", job)


async def test_a_job_s_own_webhook_is_told_beside_the_others(deployment: Deployment) -> None:
    deployment.worker.beat()
    async with client_of(deployment.app) as client:
        await endpoint(client)
        await client.post("/v1/jobs", json=HOOKED)
        deployment.worker.succeed(deployment.worker.take(), "A cat.")
    calls = [told(deployment), told(deployment)]
    assert {call.url for call in calls} == {ENDPOINT["url"], URL}
    assert len({call.notice.id for call in calls}) == 1


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_on_its_own_connection_is_told_to_nobody_else(
    deployment: Deployment, stream: bool
) -> None:
    deployment.worker.beat()
    chat = {"model": "sightline/tiny", "messages": [{"role": "user", "content": "What is this?"}]}
    async with client_of(deployment.app) as client:
        await endpoint(client)
        await client.post("/v1/jobs", json=ASKED)
        deployment.worker.succeed(deployment.worker.take(), "A cat.")
        told(deployment)
        answers = [
            await client.post("/v1/chat/completions", json=chat | {"stream": stream}),
            await client.post("/models/sightline/tiny", json={"inputs": "What is this?", "stream": stream}),
        ]
        events = (await client.get("/v1/events")).json()["data"]
    assert [(answer.status_code, answer.headers["x-cache"]) for answer in answers] == [(200, "HIT")] * 2
    assert len(events) == 1
    assert next_delivery(deployment) is None


async def test_a_rotation_shows_the_new_secret_once_and_both_sign_for_its_grace_time(
    deployment: Deployment,
) -> None:
    async with client_of(deployment.app) as client:
        new = await endpoint(client)
        path = f"/v1/webhooks/{new['id']}/rotate"
        rotated = (await client.post(path, json={"grace_s": 60})).json()
        again = (await client.post(path)).json()
        refused = await client.post(path, json={"grace_s": -1})
        await ended(deployment, client)
    assert set(told(deployment).secrets) == {new["secret"], rotated["secret"], again["secret"]}
    assert rotated["former_until"] == pytest.approx(new["created_at"] + 60, abs=30)
    assert again["former_until"] == pytest.approx(new["created_at"] + 86_400, abs=30)
    assert (refused.status_code, refused.json()["param"]) == (400, "grace_s")


async def test_a_test_is_sent_and_in_the_log_of_calls_and_in_no_other(deployment: Deployment) -> None:
    async with client_of(deployment.app) as client:
        new = await endpoint(client)
        path = f"/v1/webhooks/{new['id']}"
        sent = (await client.post(f"{path}/test")).json()
        call = told(deployment)
        (tried,) = (await client.get(f"{path}/deliveries")).json()["data"]
        events = (await client.get("/v1/events")).json()["data"]
    assert sent["data"] == {"id": new["id"], "object": "webhook"}
    assert (call.url, call.notice.id, call.notice.type) == (ENDPOINT["url"], sent["id"], "webhook.test")
    assert (tried["event_id"], tried["event"], tried["status"]) == (sent["id"], "webhook.test", 204)
    assert events == []


async def test_a_receiver_that_is_gone_turns_its_webhook_off(deployment: Deployment) -> None:
    async with client_of(deployment.app) as client:
        path = f"/v1/webhooks/{(await endpoint(client))['id']}"
        await ended(deployment, client)
        told(deployment, 410)
        await ended(deployment, client)
        seen = (await client.get(path)).json()
        assert next_delivery(deployment) is None
        await client.patch(path, json={"enabled": True})
        await ended(deployment, client)
    assert (seen["enabled"], seen["disabled_reason"]) == (False, "gone")
    assert told(deployment).url == ENDPOINT["url"]


async def test_what_was_missed_is_sent_again_on_demand(deployment: Deployment) -> None:
    async with client_of(deployment.app) as client:
        await ended(deployment, client)
        path = f"/v1/webhooks/{(await endpoint(client))['id']}/deliveries"
        (event,) = (await client.get("/v1/events")).json()["data"]
        sent = await client.post(f"{path}/{event['id']}/replay")
        unknown = await client.post(f"{path}/msg_0_ended/replay")
        typed = await client.post(f"{path}/job_0/replay")
    assert (sent.status_code, sent.json()) == (202, event)
    assert told(deployment).notice.id == event["id"]
    for reply in (unknown, typed):
        assert (reply.status_code, reply.json()["code"]) == (404, "event_not_found")


async def test_tests_of_webhooks_do_not_take_the_room_of_accepted_work(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = deployment.worker.store.client
    monkeypatch.setattr(headroom, "MEMORY_LIFE_S", 0.0)
    async with client_of(deployment.app) as client:
        hook = (await endpoint(client))["id"]
        server.config_set("maxmemory", int(server.info("memory")["used_memory"] * 1.06))
        try:
            replies = [
                await client.post(f"/v1/webhooks/{hook}/test"),
                await client.post("/v1/webhooks", json=ENDPOINT),
            ]
        finally:
            server.config_set("maxmemory", 0)
    assert [(reply.status_code, reply.json()["code"]) for reply in replies] == [
        (503, "store_unavailable")
    ] * 2
    assert next_delivery(deployment) is None


async def test_all_doors_of_a_process_share_one_look_at_how_full_the_store_is(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(headroom, "MEMORY_LIFE_S", 30.0)
    looks = count()

    def look() -> ScriptCall[Memory]:
        next(looks)
        return memory()

    monkeypatch.setattr(headroom, "memory", look)
    async with client_of(deployment.app) as client:
        await endpoint(client)
        job = {"model": deployment.worker.model.id, "input": {"prompt": "How full?"}}
        assert (await client.post("/v1/jobs", json=job)).status_code == 202
        file = {"file": ("a.txt", b"a")}
        assert (await client.post("/v1/files", files=file, data={"purpose": "user_data"})).status_code == 200
    assert next(looks) == 1


@pytest.mark.parametrize("deployment", [KEYED], indirect=True)
async def test_a_key_that_may_not_read_has_no_answers_sent_anywhere(deployment: Deployment) -> None:
    async with await customer(deployment.app, "one", scopes=["submit"]) as writer:
        refused = await writer.post("/v1/webhooks", json=ENDPOINT)
    async with await customer(deployment.app, "one", scopes=["read"]) as reader:
        also = await reader.post("/v1/webhooks", json=ENDPOINT)
        assert (await reader.get("/v1/webhooks")).status_code == 200
    for reply in (refused, also):
        assert (reply.status_code, code_of(reply)) == (403, "insufficient_scope")


@pytest.mark.parametrize("deployment", [KEYED], indirect=True)
async def test_webhooks_and_events_are_each_caller_s_own(deployment: Deployment) -> None:
    async with await customer(deployment.app, "one") as one, await customer(deployment.app, "two") as two:
        mine, foreign = await endpoint(one), await endpoint(two, url="https://two.example/")
        await ended(deployment, one)
        lists = [(await client.get("/v1/webhooks")).json()["data"] for client in (one, two)]
        logs = [(await client.get("/v1/events")).json()["data"] for client in (one, two)]
        theirs = f"/v1/webhooks/{foreign['id']}/deliveries/{logs[0][0]['id']}/replay"
        sent = await two.post(theirs)
        peeked = await two.get("/v1/events", params={"after": logs[0][0]["id"]})
    assert [[e["id"] for e in found] for found in lists] == [[mine["id"]], [foreign["id"]]]
    assert [len(found) for found in logs] == [1, 0]
    assert [(reply.status_code, reply.json()["code"]) for reply in (sent, peeked)] == [
        (404, "event_not_found")
    ] * 2
    assert told(deployment).url == mine["url"]
    assert next_delivery(deployment) is None

"""Webhooks of a caller, and the log of events, at the door and over the real store."""

from typing import Any

import pytest

from shared.store import headroom
from shared.webhooks import key_of
from tests.routes.conftest import Deployment
from tests.routes.test_webhooks import next_delivery, told
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
    assert len(key_of(new["secret"])) == 24
    assert [reply.status_code for reply in seen] == [200, 200, 200, 202, 200, 200]
    assert not any(new["secret"] in reply.text for reply in seen)
    assert seen[1].json()["data"] == [seen[0].json()]


async def test_a_webhook_is_changed_where_its_caller_says_so_and_nowhere_else(deployment: Deployment) -> None:
    async with client_of(deployment.app) as client:
        path = f"/v1/webhooks/{(await endpoint(client))['id']}"
        changed = await client.patch(path, json={"events": ["job.*"], "enabled": False, "description": ""})
    said = changed.json()
    assert (said["events"], said["enabled"], said["disabled_reason"]) == (["job.*"], False, "caller")
    assert (said["description"], said["url"], said["disabled_at"] > 0) == ("", ENDPOINT["url"], True)


@pytest.mark.parametrize(
    ("said", "code", "param"),
    [
        ({"url": "https://me:pw@example.com/"}, "invalid_webhook_url", "url"),
        (ENDPOINT | {"events": []}, "invalid_request", "events"),
        (ENDPOINT | {"events": ["job.*"] * 101}, "invalid_request", "events"),
        (ENDPOINT | {"events": ["*"]}, "invalid_request", "events[0]"),
        (ENDPOINT | {"description": "a\nb"}, "invalid_request", "description"),
        (ENDPOINT | {"description": "x" * 201}, "invalid_request", "description"),
        (ENDPOINT | {"secret": "mine and long enough"}, "unknown_field", "secret"),
    ],
)
async def test_what_cannot_be_told_of_is_refused(
    deployment: Deployment, said: Any, code: str, param: str
) -> None:
    async with client_of(deployment.app) as client:
        refused = await client.post("/v1/webhooks", json=said)
        path = f"/v1/webhooks/{(await endpoint(client))['id']}"
        change = await client.patch(path, json=said)
        kept = (await client.get(path)).json()
    for reply in (refused, change):
        assert (reply.status_code, reply.json()["code"], reply.json()["param"]) == (400, code, param)
    assert kept["url"] == ENDPOINT["url"]


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_on_its_own_connection_is_told_to_no_hook(
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


@pytest.mark.parametrize("deployment", [KEYED], indirect=True)
async def test_a_key_that_may_not_read_has_no_answers_sent_anywhere(deployment: Deployment) -> None:
    async with await customer(deployment.app, "one", scopes=["submit"]) as writer:
        refused = await writer.post("/v1/webhooks", json=ENDPOINT)
    async with await customer(deployment.app, "one", scopes=["read"]) as reader:
        also = await reader.post("/v1/webhooks", json=ENDPOINT)
        assert (await reader.get("/v1/webhooks")).status_code == 200
    for reply in (refused, also):
        assert (reply.status_code, code_of(reply)) == (403, "insufficient_scope")

"""Webhooks at the door, over the real store: asked for, shown without the secret, told again on demand."""

import time
from typing import Any

import pytest
from pydantic import SecretStr

from shared import ids
from shared.job import Delivery
from shared.store import webhooks
from shared.store.keys import PREFIX
from shared.store.webhooks import DueCall
from shared.webhooks import ENDINGS
from tests.routes.conftest import Deployment
from tests.support.app import client_of
from tests.support.existing import existing
from tests.support.keys import ADMIN, KEYED, calling, code_of, customer, made
from tests.support.store import next_call

URL, SECRET = "https://example.com/told?by=us", "a secret of sixteen bytes"
ASKED = {"model": "sightline/tiny", "input": {"prompt": "What is this?"}}
HOOKED = ASKED | {"webhook": {"url": URL, "secret": SECRET}}


def next_delivery(deployment: Deployment) -> DueCall | None:
    return next_call(deployment.worker.store.run, deployment.worker.settings, ids.token())


def told(deployment: Deployment, status: int = 204) -> DueCall:
    """A courier makes the next call."""
    taken = existing(next_delivery(deployment))
    error = None if status < 300 else "no"
    tried = Delivery(taken.notice.type, taken.notice.at_ms + 10, 5, status, error)
    pause_s = None if error is None else 3600
    deployment.worker.store.run(webhooks.report(deployment.worker.settings, taken, tried, pause_s))
    return taken


async def test_a_job_shows_its_webhook_and_never_the_secret(deployment: Deployment) -> None:
    deployment.worker.beat()
    async with client_of(deployment.app) as client:
        first = await client.post("/v1/jobs", json=HOOKED)
        path = first.headers["location"]
        deployment.worker.succeed(deployment.worker.take(), "A cat.")
        told(deployment)
        seen = [
            first,
            await client.get(path),
            await client.get("/v1/jobs"),
            await client.get(f"{path}/events"),
        ]
        seen += [await client.post(f"{path}/cancel"), await client.post(f"{path}/webhook/redeliver")]
    hook = seen[1].json()["webhook"]
    untold: dict[str, Any] = {"deliveries": [], "delivered_at": None, "next_try_at": None}
    assert first.json()["webhook"] == {"url": URL, "events": list(ENDINGS), **untold}
    assert (hook["delivered_at"] > 0, [d["status"] for d in hook["deliveries"]]) == (True, [204])
    assert not any(SECRET in reply.text for reply in seen)


@pytest.mark.parametrize(
    ("webhook", "code", "param"),
    [
        ({"url": "https://me:pw@example.com/", "secret": SECRET}, "invalid_webhook_url", "webhook.url"),
        ({"url": "http://10.0.0.1/", "secret": SECRET}, "invalid_webhook_url", "webhook.url"),
        ({"url": URL, "secret": "short secret"}, "invalid_request", "webhook.secret"),
        ({"url": URL, "secret": SECRET, "events": ["job.queued"]}, "invalid_request", "webhook.events[0]"),
    ],
)
async def test_a_webhook_that_cannot_be_told_is_refused_before_anything_is_queued(
    deployment: Deployment, webhook: object, code: str, param: str
) -> None:
    deployment.worker.beat()
    async with client_of(deployment.app) as client:
        refused = await client.post("/v1/jobs", json=ASKED | {"webhook": webhook})
        listed = (await client.get("/v1/jobs")).json()["data"]
    assert (refused.status_code, refused.json()["code"], refused.json()["param"]) == (400, code, param)
    assert listed == []
    assert "short secret" not in refused.text
    assert SECRET not in refused.text


@pytest.mark.parametrize("deployment", [KEYED | {"webhook": {"secret": SecretStr(SECRET)}}], indirect=True)
async def test_a_customer_s_calls_are_not_signed_with_what_signs_for_others(deployment: Deployment) -> None:
    async with await customer(deployment.app, "one") as one:
        refused = [
            await one.post("/v1/jobs", json=ASKED | {"webhook": said})
            for said in (URL, {"url": URL}, {"url": URL, "secret": None})
        ]
        listed = (await one.get("/v1/jobs")).json()["data"]
        own = await one.post("/v1/jobs", json=HOOKED)
    async with calling(deployment.app, ADMIN) as operator:
        operators = await operator.post("/v1/jobs", json=ASKED | {"webhook": URL})

    for reply in refused:
        assert (reply.status_code, reply.json()["param"]) == (400, "webhook.secret")
        assert "Send a `secret`" in reply.json()["detail"]
    assert listed == []
    assert (own.status_code, operators.status_code) == (202, 202)


@pytest.mark.parametrize("deployment", [{"webhook": {"secret": SecretStr(SECRET)}}], indirect=True)
async def test_where_the_service_has_a_secret_an_address_is_enough(deployment: Deployment) -> None:
    async with client_of(deployment.app) as client:
        accepted = await client.post("/v1/jobs", json=ASKED | {"webhook": URL})
    assert (accepted.status_code, accepted.json()["webhook"]["url"]) == (202, URL)
    assert SECRET not in accepted.text


async def test_a_retry_is_told_as_the_first_try_was(deployment: Deployment) -> None:
    deployment.worker.beat()
    async with client_of(deployment.app) as client:
        path = (await client.post("/v1/jobs", json=HOOKED)).headers["location"]
        deployment.worker.fail(deployment.worker.take(), "attempts_exhausted", "It failed three times.")
        told(deployment)
        again = (await client.post(f"{path}/retry")).json()
    deployment.worker.succeed(deployment.worker.take(), "A cat.")
    call = told(deployment)
    assert (call.notice.subject, call.url, call.secrets) == (again["id"], URL, (SECRET,))


async def test_all_that_failed_since_a_time_is_sent_again(deployment: Deployment) -> None:
    deployment.worker.beat()
    async with client_of(deployment.app) as client:
        job = (await client.post("/v1/jobs", json=HOOKED)).json()["id"]
        deployment.worker.succeed(deployment.worker.take(), "A cat.")
        told(deployment, 500)
        assert next_delivery(deployment) is None, "its pause is not over"
        wrong = await client.post("/v1/jobs/redeliver", json={})
        late = await client.post("/v1/jobs/redeliver", json={"since": time.time() + 3600})
        again = await client.post("/v1/jobs/redeliver", json={"since": time.time() - 3600})
    assert (wrong.status_code, wrong.json()["param"]) == (400, "since")
    assert [(reply.status_code, reply.json()["count"]) for reply in (late, again)] == [(202, 0), (202, 1)]
    assert told(deployment).notice.subject == job


keyed = pytest.mark.parametrize("deployment", [KEYED], indirect=True)


async def key_with_webhook(deployment: Deployment, **webhook: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """A new key, and what the operator is told as it gets a default webhook."""
    key = await made(deployment.app, "shop")
    async with calling(deployment.app, ADMIN) as operator:
        path = f"/v1/admin/keys/{key['id']}/webhook"
        reply = await operator.put(path, json={"url": "https://shop.example/all", **webhook})
    assert reply.status_code == 200, reply.text
    return key, reply.json()


async def ask(deployment: Deployment, key: dict[str, Any], **body: Any) -> dict[str, Any]:
    """A job of this key, which has succeeded."""
    async with calling(deployment.app, key["secret"]) as caller:
        job: dict[str, Any] = (await caller.post("/v1/jobs", json=ASKED | body)).json()
    deployment.worker.succeed(deployment.worker.take(), "A cat.")
    return job


@keyed
async def test_a_keys_default_webhook_gets_its_jobs_ends(deployment: Deployment) -> None:
    deployment.worker.beat()
    key, hook = await key_with_webhook(deployment)
    job = await ask(deployment, key)
    call = told(deployment)
    assert (call.url, call.notice.subject, call.secrets) == (
        "https://shop.example/all",
        job["id"],
        (hook["webhook_secret"],),
    )
    assert job["webhook"]["url"] == hook["webhook"]["url"] == call.url
    async with calling(deployment.app, key["secret"]) as caller:
        shown = (await caller.get(f"/v1/jobs/{job['id']}")).json()["webhook"]
    assert [delivery["status"] for delivery in shown["deliveries"]] == [204]


@keyed
async def test_a_jobs_own_webhook_gets_its_events_alone(deployment: Deployment) -> None:
    deployment.worker.beat()
    key, hook = await key_with_webhook(deployment)
    await ask(deployment, key, webhook=URL)
    call = told(deployment)
    assert (call.url, call.secrets) == (URL, (hook["webhook_secret"],))
    assert next_delivery(deployment) is None


@keyed
async def test_a_default_webhook_gets_the_chosen_events_only(deployment: Deployment) -> None:
    deployment.worker.beat()
    key, _ = await key_with_webhook(deployment, events=["job.failed", "batch.failed"])
    await ask(deployment, key)
    assert next_delivery(deployment) is None


@keyed
async def test_a_rotated_webhook_secret_signs_for_a_day_more(deployment: Deployment) -> None:
    deployment.worker.beat()
    key, first = await key_with_webhook(deployment)
    path = f"/v1/admin/keys/{key['id']}/webhook"
    async with calling(deployment.app, ADMIN) as operator:
        again = (await operator.put(path, json={"url": "https://moved.example/"})).json()
        rotated = (await operator.post(f"{path}/rotate")).json()
        listed = await operator.get("/v1/admin/keys")
    await ask(deployment, key)
    call = told(deployment)
    assert (again["webhook_secret"], again["webhook"]["url"]) == (None, call.url)
    assert set(call.secrets) == {first["webhook_secret"], rotated["webhook_secret"]}
    assert rotated["webhook"]["former_until"] == pytest.approx(time.time() + 86_400, abs=600)
    assert not any(secret in listed.text for secret in call.secrets)


@keyed
@pytest.mark.parametrize("end", ["", "/webhook"])
async def test_a_revoked_keys_default_webhook_is_not_called(deployment: Deployment, end: str) -> None:
    deployment.worker.beat()
    key, _ = await key_with_webhook(deployment)
    job = await ask(deployment, key)
    async with calling(deployment.app, ADMIN) as operator:
        ended = await operator.delete(f"/v1/admin/keys/{key['id']}{end}")
        unknown = await operator.delete("/v1/admin/keys/key_0/webhook")
    assert ended.json()["webhook"] is None
    assert (unknown.status_code, code_of(unknown)) == (404, "key_not_found")
    assert next_delivery(deployment) is None
    assert deployment.worker.store.client.exists(f"{PREFIX}{job['id']}")


@keyed
@pytest.mark.parametrize(
    ("webhook", "code", "param"),
    [
        ({"url": "http://127.0.0.1/"}, "invalid_webhook_url", "url"),
        ({"url": "https://x.example/", "events": []}, "invalid_request", "events"),
        ({"url": "https://x.example/", "events": ["job.*"]}, "invalid_request", "events[0]"),
    ],
)
async def test_a_default_webhook_that_cannot_be_called_is_refused(
    deployment: Deployment, webhook: object, code: str, param: str
) -> None:
    key = await made(deployment.app, "shop")
    async with calling(deployment.app, ADMIN) as operator:
        refused = await operator.put(f"/v1/admin/keys/{key['id']}/webhook", json=webhook)
    assert (refused.status_code, code_of(refused), refused.json()["error"]["param"]) == (400, code, param)

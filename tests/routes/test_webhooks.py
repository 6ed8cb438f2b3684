"""Webhooks at the door, over the real store: asked for, shown without the secret, told again on demand."""

from typing import Any

import pytest
from pydantic import SecretStr

from shared import ids
from shared.job import Delivery
from shared.store import webhook_deliveries
from shared.store.webhook_deliveries import DueDelivery
from shared.webhooks import ENDINGS
from tests.routes.conftest import Deployment
from tests.support.app import client_of
from tests.support.keys import ADMIN, KEYED, calling, customer
from tests.support.store import next_call

URL, SECRET = "https://example.com/told?by=us", "a secret of sixteen bytes"
ASKED = {"model": "sightline/tiny", "input": {"prompt": "What is this?"}}
HOOKED = ASKED | {"webhook": {"url": URL, "secret": SECRET}}


def next_delivery(deployment: Deployment) -> DueDelivery | None:
    return next_call(deployment.worker.store.run, deployment.worker.settings, token=ids.token())


def told(deployment: Deployment, status: int = 204) -> DueDelivery:
    """A courier makes the next call."""
    taken = next_delivery(deployment)
    assert taken is not None
    tried = Delivery(taken.notice.type, taken.notice.at_ms + 10, 5, status)
    deployment.worker.store.run(
        webhook_deliveries.end_delivery(deployment.worker.settings, taken.claim, taken, tried)
    )
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
        seen += [await client.post(f"{path}/cancel"), await client.post(f"{path}/webhook/replay")]
    hook = seen[1].json()["webhook"]
    untold: dict[str, Any] = {"deliveries": [], "delivered_at": None, "next_try_at": None}
    assert first.json()["webhook"] == {"url": URL, "events": list(ENDINGS), **untold}
    assert (hook["delivered_at"] > 0, [d["status"] for d in hook["deliveries"]]) == (True, [204])
    assert not any(SECRET in reply.text for reply in seen)


@pytest.mark.parametrize(
    ("webhook", "code", "param"),
    [
        ({"url": "https://me:pw@example.com/", "secret": SECRET}, "invalid_webhook_url", "webhook.url"),
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
        assert "`secret` of its own: send one" in reply.json()["detail"]
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

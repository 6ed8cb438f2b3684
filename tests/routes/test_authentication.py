"""Who comes in where no key is configured, and what is never written down where keys are."""

import logging
from typing import Any

import httpx
import pytest

from shared.api_keys import new_secret
from shared.settings import Settings
from tests.routes.conftest import Deployment
from tests.support.app import ROOT, client_of
from tests.support.keys import ADMIN, KEYED, bearer, calling, code_of, made

JOB = {"model": "sightline/tiny", "input": {"prompt": "What is this?"}}
LOOPBACK = ["127.0.0.1", "127.8.9.1", "::1", "::ffff:127.0.0.1"]
STRANGERS = ["10.0.0.7", "172.17.0.1", "8.8.8.8", "::ffff:10.0.0.7", "2001:db8::1", "", "localhost"]
FORWARDED = [
    *("forwarded", "via", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"),
    *("x-original-forwarded-for", "x-real-ip", "x-client-ip", "x-cluster-client-ip"),
    *("true-client-ip", "cf-connecting-ip"),
]


def peer_of(app: Any, address: str) -> httpx.AsyncClient:
    """A client at another address."""
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False, client=(address, 1))
    return httpx.AsyncClient(transport=transport, base_url=ROOT)


async def test_without_keys_this_machine_is_answered_as_ever(deployment: Deployment) -> None:
    for address in LOOPBACK:
        async with peer_of(deployment.app, address) as client:
            assert (await client.post("/v1/jobs", json=JOB)).status_code == 202


async def test_without_keys_another_machine_is_refused_and_told_what_to_do(deployment: Deployment) -> None:
    for address in STRANGERS:
        async with peer_of(deployment.app, address) as client:
            replies = [
                await client.post("/v1/jobs", json=JOB, headers=bearer(new_secret())),
                await client.post("/v1/chat/completions", json={}),
                await client.post("/models/sightline/tiny", json={}),
                await client.post("/v1/admin/models/sightline/tiny/pause"),
                await client.get("/v1/models"),
            ]
            probes = [await client.get("/health"), await client.get("/ready")]
        assert [(r.status_code, code_of(r)) for r in replies] == [(403, "local_only")] * 5
        assert "SIGHTLINE_API__ADMIN_KEY" in replies[0].text
        assert "SIGHTLINE_API__OPEN" in replies[0].text
        assert [r.status_code for r in probes] == [200, 503]


async def test_without_keys_what_a_proxy_on_this_machine_forwards_is_refused(deployment: Deployment) -> None:
    async with client_of(deployment.app) as client:
        for header in FORWARDED:
            reply = await client.post("/v1/jobs", json=JOB, headers={header: "127.0.0.1"})
            assert (reply.status_code, code_of(reply)) == (403, "local_only"), header


@pytest.mark.parametrize("deployment", [{"api": {"open": True}}], indirect=True)
async def test_an_open_service_answers_everybody(deployment: Deployment) -> None:
    async with peer_of(deployment.app, "10.0.0.7") as client:
        assert (await client.post("/v1/jobs", json=JOB)).status_code == 202


@pytest.mark.parametrize("deployment", [KEYED], indirect=True)
async def test_with_keys_this_machine_needs_one_too_and_others_are_answered(deployment: Deployment) -> None:
    async with peer_of(deployment.app, "10.0.0.7") as far, client_of(deployment.app) as near:
        with_key = await far.post("/v1/jobs", json=JOB, headers=bearer(ADMIN))
        without = await near.post("/v1/jobs", json=JOB)
    assert (with_key.status_code, without.status_code) == (202, 401)
    # RFC 9110, section 11.6.1: by this a client knows how to send its key.
    assert without.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("deployment", [KEYED], indirect=True)
async def test_without_its_store_a_key_is_neither_taken_nor_called_wrong(deployment: Deployment) -> None:
    key = await made(deployment.app, "one")
    async with calling(deployment.app, key["secret"]) as client:
        deployment.server.kill()
        try:
            reply = await client.get("/v1/models")
        finally:
            deployment.server.start()
    assert (reply.status_code, code_of(reply)) == (503, "store_unavailable")
    assert 1 <= int(reply.headers["retry-after"]) <= 60


@pytest.mark.parametrize("deployment", [KEYED], indirect=True)
async def test_no_secret_is_written_down(deployment: Deployment, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    secret, wrong = (await made(deployment.app, "one", requests_per_minute=1))["secret"], new_secret()
    replies = []
    async with client_of(deployment.app) as client:
        for said in (secret, secret, wrong, ADMIN, ADMIN + "x", f"{secret} {secret}"):
            replies.append(await client.delete("/v1/files/file-0", headers=bearer(said)))
            replies.append(await client.get("/v1/admin/keys", headers=bearer(said)))
    settings = Settings.model_validate({"api": {"admin_key": ADMIN}})
    store = deployment.worker.store.client
    names = store.keys("*")
    kept = repr([names, *(store.hgetall(name) for name in names if store.type(name) == "hash")])
    shown = "".join(r.text + str(r.headers) for r in replies)

    assert {r.status_code for r in replies} == {200, 401, 403, 404, 429}
    for text in (caplog.text, kept, shown, repr(settings), str(settings.model_dump())):
        assert not [s for s in (secret, wrong, ADMIN) if s in text]

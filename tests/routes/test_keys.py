"""API keys at work: scopes, quotas, rotation, and when a key stops working."""

from typing import Any

import httpx
import pytest

from api.auth.api_keys import ApiKeys
from shared.api_keys import new_secret
from shared.errors import CallerError
from shared.settings import ApiSettings
from shared.store.script import connect_async
from tests.routes.conftest import Deployment
from tests.support.app import ROOT, client_of
from tests.support.keys import ADMIN, KEYED, bearer, calling, code_of, customer, made
from tests.support.stored import fields_of

keyed = pytest.mark.parametrize("deployment", [KEYED], indirect=True)
MODEL = "sightline/tiny"
JOB = {"model": MODEL, "input": {"prompt": "What is this?"}}
CHAT = {"model": MODEL, "messages": [{"role": "user", "content": "What is this?"}]}


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the time that a look-up is believed had passed before each call."""
    monkeypatch.setattr("api.auth.api_keys.FRESH_S", 0.0)


@keyed
async def test_a_key_is_understood_as_the_pages_spell_it(deployment: Deployment) -> None:
    secret = (await made(deployment.app, "one"))["secret"]
    async with client_of(deployment.app) as client:
        for spelling in ("Bearer", "Bearer:", "bearer  "):
            reply = await client.get("/v1/models", headers={"authorization": f"{spelling} {secret}"})
            assert reply.status_code == 200


@keyed
@pytest.mark.parametrize(
    ("scopes", "statuses"),
    [
        (["read"], [200, 403, 403, 403]),
        (["submit"], [403, 202, 403, 403]),
        (["admin"], [403, 403, 200, 202]),
    ],
)
async def test_a_key_may_do_what_its_scopes_say_and_no_more(
    deployment: Deployment, scopes: list[str], statuses: list[int]
) -> None:
    async with await customer(deployment.app, "one", scopes=scopes) as one:
        replies = [
            await one.get("/v1/jobs"),
            await one.post("/v1/jobs", json=JOB),
            await one.get("/v1/admin/keys"),
            await one.post(f"/v1/models/{MODEL}/unload"),
        ]
    assert [reply.status_code for reply in replies] == statuses
    assert all(code_of(r) == "insufficient_scope" for r in replies if r.status_code == 403)


@keyed
async def test_a_path_in_front_of_all_others_opens_no_route_to_a_lesser_key(deployment: Deployment) -> None:
    """As uvicorn's --root-path puts it there."""
    key = await made(deployment.app, "one", scopes=["read", "submit"])
    transport = httpx.ASGITransport(app=deployment.app, root_path="/ai")
    async with httpx.AsyncClient(transport=transport, base_url=ROOT, headers=bearer(key["secret"])) as one:
        listed = await one.get("/ai/v1/jobs")
        keys = [await one.get("/ai/v1/admin/keys"), await one.post("/ai/v1/admin/keys", json={"name": "x"})]
        probe = await one.get("/ai/health", headers={"authorization": ""})
    assert [listed.status_code, probe.status_code] == [200, 200]
    assert [(r.status_code, code_of(r)) for r in keys] == [(403, "insufficient_scope")] * 2


@keyed
@pytest.mark.usefixtures("at_once")
async def test_a_revoked_key_stops_working(deployment: Deployment) -> None:
    key = await made(deployment.app, "one")
    async with calling(deployment.app, key["secret"]) as one, calling(deployment.app, ADMIN) as operator:
        before = await one.get("/v1/jobs")
        revoked = await operator.delete(f"/v1/admin/keys/{key['id']}")
        after = await one.get("/v1/jobs")
        unknown = await operator.delete("/v1/admin/keys/key_00")

    assert (before.status_code, after.status_code) == (200, 401)
    assert revoked.json()["revoked_at"] is not None
    assert (unknown.status_code, code_of(unknown)) == (404, "key_not_found")


@keyed
async def test_a_used_up_quota_is_429_and_says_when_to_come_back(deployment: Deployment) -> None:
    async with await customer(deployment.app, "one", requests_per_minute=1) as one:
        first = await one.post("/v1/jobs", json=JOB)
        reads = [await one.get(first.headers["location"]) for _ in range(11)]
        refused = [
            await one.post("/v1/jobs", json=JOB),
            await one.post("/v1/chat/completions", json=CHAT),
            await one.post(f"/models/{MODEL}", json={"inputs": "What is this?"}),
        ]
    async with await customer(deployment.app, "two") as two:
        free = await two.get("/v1/models")

    assert (first.status_code, free.status_code) == (202, 200)
    assert [reply.status_code for reply in reads] == [200] * 11, "an answer could not be read"
    assert first.headers["ratelimit-policy"] == '"requests";q=1;w=60'
    assert first.headers["ratelimit"] == '"requests";r=0;t=60'
    assert "ratelimit" not in free.headers
    for reply in refused:
        assert (reply.status_code, code_of(reply)) == (429, "rate_limited")
        assert 1 <= int(reply.headers["retry-after"]) <= 60
        assert reply.headers["ratelimit"].startswith('"requests";r=0;t=')
    kinds = [reply.headers["content-type"] for reply in refused]
    assert kinds == ["application/problem+json", "application/json", "application/json"]
    assert isinstance(refused[2].json()["error"], str)


@keyed
async def test_the_list_says_how_much_each_key_is_used_and_when_it_was_last(deployment: Deployment) -> None:
    await made(deployment.app, "idle", requests_per_minute=9)
    for name, quota in (("counted", {"requests_per_minute": 9}), ("free", {})):
        async with await customer(deployment.app, name, **quota) as one:
            assert {(await one.delete("/v1/files/file-0")).status_code for _ in range(2)} == {404}
    async with calling(deployment.app, ADMIN) as operator:
        rows = (await operator.get("/v1/admin/keys")).json()["data"]
    assert [row["requests"] for row in rows] == [None, 2, 0]
    assert [row["last_seen_at"] is None for row in rows] == [False, False, True]


@keyed
async def test_a_key_with_two_quotas_is_told_which_of_them_is_used_up(deployment: Deployment) -> None:
    deployment.worker.beat()
    async with await customer(deployment.app, "one", max_queued=1, requests_per_minute=9) as one:
        await one.post("/v1/jobs", json=JOB)
        refused = await one.post("/v1/jobs", json={**JOB, "input": {"prompt": "And this?"}})

    assert code_of(refused) == "caller_queue_full"
    assert set(refused.headers["ratelimit-policy"].split(", ")) == {'"requests";q=9;w=60', '"queued";q=1'}
    requests, queued = sorted(refused.headers["ratelimit"].split(", "), reverse=True)
    assert (requests.split(";")[:2], queued) == (['"requests"', "r=7"], '"queued";r=0')


@keyed
async def test_a_key_without_a_quota_costs_the_store_one_look_up_a_second_not_one_a_request(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.auth.api_keys.FRESH_S", 3600.0)
    async with await customer(deployment.app, "one") as one:
        for _ in range(5):
            assert (await one.get("/v1/models")).status_code == 200
        # Nobody can look anything up now.
        deployment.server.kill()
        try:
            assert (await one.get("/v1/models")).status_code == 200
        finally:
            deployment.server.start()


async def test_made_up_keys_fill_no_memory(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.auth.api_keys.MOST_KNOWN", 3)
    store = connect_async(deployment.worker.settings.redis)
    api_keys = ApiKeys(ApiSettings.model_validate({"admin_key": ADMIN}), store)
    for _ in range(10):
        with pytest.raises(CallerError):
            await api_keys.use(new_secret(), "192.0.2.7")
    assert len(api_keys._known) <= 3
    await store.aclose()


@keyed
@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "name"),
        ({"name": "x", "caller": "a:b"}, "caller"),
        ({"name": "x", "caller": "*"}, "caller"),
        ({"name": "x", "scopes": []}, "scopes"),
        ({"name": "x", "scopes": ["root"]}, "scopes[0]"),
        ({"name": "x", "expires_at": 1}, "expires_at"),
        ({"name": "x", "requests_per_minute": 0}, "requests_per_minute"),
        ({"name": "x", "max_queued": -1}, "max_queued"),
        ({"name": "x", "retain_s": 59}, "retain_s"),
        ({"name": "x", "secret": "mine"}, "secret"),
    ],
)
async def test_a_wrong_key_is_refused_by_field(
    deployment: Deployment, body: dict[str, Any], param: str
) -> None:
    async with calling(deployment.app, ADMIN) as operator:
        reply = await operator.post("/v1/admin/keys", json=body)
        assert (reply.status_code, reply.json()["error"]["param"]) == (400, param)
        assert (await operator.get("/v1/admin/keys")).json()["data"] == []


@keyed
async def test_jobs_from_before_the_keys_are_the_operators(deployment: Deployment) -> None:
    deployment.worker.store.client.flushall()
    async with calling(deployment.app, ADMIN) as operator:
        job = (await operator.post("/v1/jobs", json=JOB)).json()
    assert fields_of(deployment.worker.store.client, job["id"])["caller"] == "local"


@keyed
@pytest.mark.usefixtures("at_once")
async def test_who_guesses_is_made_to_wait_and_a_good_key_from_there_goes_on(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.auth.api_keys.BURST", 3)
    async with await customer(deployment.app, "one") as one:
        assert (await one.get("/v1/models")).status_code == 200
        guesses = []
        for _ in range(5):
            async with calling(deployment.app, new_secret()) as stranger:
                guesses.append(await stranger.get("/v1/models"))
        assert [r.status_code for r in guesses] == [401, 401, 401, 429, 429]
        assert code_of(guesses[-1]) == "rate_limited"
        assert 1 <= int(guesses[-1].headers["retry-after"]) <= 60
        assert (await one.get("/v1/models")).status_code == 200


@keyed
async def test_strangers_behind_the_same_proxy_do_not_lock_the_operator_out_of_a_new_process(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.auth.api_keys.BURST", 1)
    for code in (401, 429):
        async with calling(deployment.app, new_secret()) as stranger:
            assert (await stranger.get("/v1/models")).status_code == code
    async with calling(deployment.app, ADMIN) as operator:
        assert (await operator.get("/v1/admin/keys")).status_code == 200


@keyed
@pytest.mark.usefixtures("at_once")
async def test_a_rotated_key_has_a_new_secret_and_the_former_one_for_the_grace_time(
    deployment: Deployment,
) -> None:
    key = await made(deployment.app, "one")
    path = f"/v1/admin/keys/{key['id']}/rotate"
    async with calling(deployment.app, ADMIN) as operator:
        kept = (await operator.post(path, json={"grace_s": 60})).json()
        async with (
            calling(deployment.app, key["secret"]) as old,
            calling(deployment.app, kept["secret"]) as new,
        ):
            during = [(await client.get("/v1/jobs")).status_code for client in (old, new)]
            last = (await operator.post(path, json={"grace_s": 0})).json()
            after = [(await client.get("/v1/jobs")).status_code for client in (old, new)]
        async with calling(deployment.app, last["secret"]) as newest:
            works = await newest.get("/v1/jobs")

    assert (during, after, works.status_code) == ([200, 200], [401, 401], 200)


async def test_without_the_admin_key_nobody_makes_keys_in_advance(deployment: Deployment) -> None:
    async with client_of(deployment.app) as client:
        replies = [
            await client.post("/v1/admin/keys", json={"name": "mine", "scopes": ["admin"]}),
            await client.get("/v1/admin/keys"),
            await client.post("/v1/admin/keys/key_0/rotate"),
            await client.delete("/v1/admin/keys/key_0"),
        ]
    assert [(r.status_code, code_of(r)) for r in replies] == [(403, "keys_off")] * 4

"""Who did what with the admin routes can be read afterwards, and is on the log of the process."""

import json
import logging
import re

import pytest

from tests.routes.conftest import Deployment
from tests.support.app import client_of
from tests.support.keys import ADMIN, KEYED, calling, made

PATH = "/v1/admin/audit"
MODEL = "sightline/tiny"


@pytest.mark.parametrize("deployment", [KEYED], indirect=True)
async def test_each_act_names_its_key_its_address_and_its_call(deployment: Deployment) -> None:
    shop = await made(deployment.app, "shop")
    helper = await made(deployment.app, "helper", scopes=["admin"], name="Helper")
    async with calling(deployment.app, helper["secret"]) as client:
        client.headers["x-request-id"] = "mine"
        await client.post(f"/v1/admin/models/{MODEL}/pause")
        await client.post(f"/v1/admin/keys/{shop['id']}/rotate")
        await client.delete(f"/v1/admin/keys/{shop['id']}")
        await client.delete("/v1/admin/keys/key_00")
        page = (await client.get(PATH)).json()
    assert page["has_more"] is False
    assert [(act["action"], act["subject"], act["outcome"], act["key"]["name"]) for act in page["data"]] == [
        ("key.revoke", "key_00", "not_found", "Helper"),
        ("key.revoke", shop["id"], "done", "Helper"),
        ("key.rotate", shop["id"], "done", "Helper"),
        ("model.pause", MODEL, "done", "Helper"),
        ("key.create", helper["id"], "done", "admin"),
        ("key.create", shop["id"], "done", "admin"),
    ]
    newest = page["data"][0]
    assert newest["key"]["id"] == helper["id"]
    assert (newest["address"], newest["request_id"]) == ("127.0.0.1", "mine")
    assert not [secret for secret in (ADMIN, shop["secret"], helper["secret"]) if secret in json.dumps(page)]


async def test_without_keys_it_says_local(deployment: Deployment) -> None:
    async with client_of(deployment.app) as client:
        await client.post(f"/v1/admin/models/{MODEL}/pause")
        (act,) = (await client.get(PATH)).json()["data"]
    assert act["key"] == {"id": "local", "name": "local"}


@pytest.mark.parametrize("deployment", [KEYED], indirect=True)
async def test_who_counts_acts_by_the_log_counts_what_the_record_store_does(
    deployment: Deployment, caplog: pytest.LogCaptureFixture
) -> None:
    async with calling(deployment.app, ADMIN) as operator:
        for action in ("pause", "pause", "resume"):
            await operator.post(f"/v1/admin/models/{MODEL}/{action}")
        await operator.delete("/v1/admin/keys/key_00")
        kept = (await operator.get(PATH)).json()["data"]
    lines = [record for record in caplog.records if record.name == "api.auth"]
    assert {line.levelno for line in lines} == {logging.INFO}, "said whatever the level of the others"
    logged = [json.loads(line.getMessage().partition(" ")[2]) for line in lines]
    assert [act["outcome"] for act in logged] == ["done", "unchanged", "done", "not_found"]
    assert [(act["action"], act["subject"], act["address"], act["request"]) for act in logged] == [
        (act["action"], act["subject"], act["address"], act["request_id"]) for act in reversed(kept)
    ]


@pytest.mark.parametrize("deployment", [KEYED], indirect=True)
async def test_every_route_that_changes_something_for_operators_is_logged(deployment: Deployment) -> None:
    key = await made(deployment.app, "shop")
    async with calling(deployment.app, ADMIN) as operator:
        paths = (await operator.get("/openapi.json")).json()["paths"]
        changing = [
            (method, re.sub(r"\{.*\}", key["id"] if "/keys" in path else MODEL, path))
            for path, methods in paths.items()
            for method in methods
            if path.startswith("/v1/admin") and method != "get"
        ]
        before = len((await operator.get(PATH)).json()["data"])
        for method, path in changing:
            body = {"name": "another"} if path.endswith("/keys") else None
            body = {"id": "org/new", "engine": "echo"} if path.endswith("/models") else body
            reply = await operator.request(method, path, json=body)
            assert reply.is_success, reply.text
        after = len((await operator.get(PATH)).json()["data"])
    assert after - before == len(changing) > 0


@pytest.mark.parametrize("deployment", [KEYED], indirect=True)
async def test_it_is_read_in_pages(deployment: Deployment) -> None:
    async with calling(deployment.app, ADMIN) as operator:
        for _ in range(3):
            await operator.post(f"/v1/admin/models/{MODEL}/pause")
        first = (await operator.get(PATH, params={"limit": 2})).json()
        rest = (await operator.get(PATH, params={"after": first["last_id"]})).json()
    assert [act["outcome"] for act in first["data"] + rest["data"]] == ["unchanged", "unchanged", "done"]
    assert (first["has_more"], rest["has_more"]) == (True, False)

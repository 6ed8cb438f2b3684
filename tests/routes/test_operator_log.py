"""What operators do is one JSON line on the process's log: who, what, from where, in which call."""

import json
import logging
import re

import pytest

from tests.routes.conftest import Deployment
from tests.support.app import client_of
from tests.support.keys import ADMIN, KEYED, calling, made

MODEL = "sightline/tiny"


def logged(caplog: pytest.LogCaptureFixture) -> list[dict[str, str]]:
    """Return the actions in order; the log shows them at whatever level the process logs."""
    lines = [record for record in caplog.records if record.name == "api.auth"]
    assert {line.levelno for line in lines} <= {logging.INFO}
    return [json.loads(line.getMessage().removeprefix("admin ")) for line in lines]


@pytest.mark.parametrize("deployment", [KEYED], indirect=True)
async def test_each_action_names_its_key_address_and_call(
    deployment: Deployment, caplog: pytest.LogCaptureFixture
) -> None:
    shop = await made(deployment.app, "shop")
    helper = await made(deployment.app, "helper", scopes=["admin"], name="Helper")
    async with calling(deployment.app, helper["secret"]) as client:
        client.headers["x-request-id"] = "mine"
        await client.post(f"/v1/admin/models/{MODEL}/pause")
        await client.delete(f"/v1/admin/keys/{shop['id']}")
        await client.delete("/v1/admin/keys/key_00")
        await client.delete(f"/v1/admin/records/{'x' * 5000}")
    actions = logged(caplog)
    assert [(act["action"], act["subject"][:50], act["outcome"], act["name"]) for act in actions] == [
        ("key.create", shop["id"], "done", "admin"),
        ("key.create", helper["id"], "done", "admin"),
        ("model.pause", MODEL, "done", "Helper"),
        ("key.revoke", shop["id"], "done", "Helper"),
        ("key.revoke", "key_00", "not_found", "Helper"),
        ("record.forget", "x" * 50, "not_found", "Helper"),
    ]
    newest = actions[-1]
    assert (newest["key"], newest["address"], newest["request"]) == (helper["id"], "127.0.0.1", "mine")
    assert len(newest["subject"]) == 200
    assert not [secret for secret in (ADMIN, shop["secret"], helper["secret"]) if secret in caplog.text]


async def test_without_keys_the_operator_is_local(
    deployment: Deployment, caplog: pytest.LogCaptureFixture
) -> None:
    async with client_of(deployment.app) as client:
        await client.post(f"/v1/admin/models/{MODEL}/pause")
    (action,) = logged(caplog)
    assert (action["key"], action["name"]) == ("local", "local")


@pytest.mark.parametrize("deployment", [KEYED], indirect=True)
async def test_every_changing_admin_route_is_logged(
    deployment: Deployment, caplog: pytest.LogCaptureFixture
) -> None:
    key = await made(deployment.app, "shop")
    async with calling(deployment.app, ADMIN) as operator:
        paths = (await operator.get("/openapi.json")).json()["paths"]
        changing = [
            (method, re.sub(r"\{.*\}", key["id"] if "/keys" in path else MODEL, path))
            for path, methods in paths.items()
            for method in methods
            if path.startswith("/v1/admin") and method != "get"
        ]
        # What sets something comes first, and what deletes it last.
        changing.sort(key=lambda call: (call[0] != "put", call[0] == "delete", -len(call[1])))
        before = len(logged(caplog))
        for method, path in changing:
            body = {"name": "another"} if path.endswith("/keys") else None
            body = {"id": "org/new", "engine": "echo"} if path.endswith("/models") else body
            body = {"url": "https://shop.example/"} if method == "put" else body
            reply = await operator.request(method, path, json=body)
            assert reply.is_success, reply.text
    assert len(logged(caplog)) - before == len(changing) > 0

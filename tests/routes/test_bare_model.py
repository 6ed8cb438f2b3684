"""A model without a chat template answers on the raw route only, and every other door says so at once."""

from typing import Any

import pytest

from shared.models_file import load_models
from shared.request import Request
from tests.routes.conftest import Deployment
from tests.support.app import client_of
from tests.support.pictures import picture
from tests.support.scripted_worker import ScriptedWorker

BARE = "org/bare"
HF = f"/models/{BARE}"
TURN = {"role": "user", "content": "What is this?"}
CHAT = {"model": BARE, "messages": [TURN]}
TURNS = [TURN, {"role": "assistant", "content": "A cat."}, TURN]


def _hand(deployment: Deployment) -> ScriptedWorker:
    models = load_models(deployment.worker.settings.models_file)
    return ScriptedWorker(deployment.worker.settings, deployment.worker.store, models.resolve(BARE))


def _taken(worker: ScriptedWorker) -> Request:
    return Request.model_validate_json(worker.take().request)


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b'{"inputs": "A cat is"}', {}),
        (b'{"inputs": [{"role": "user", "content": "A cat is"}]}', {}),
        (picture(), {"content-type": "image/png"}),
    ],
)
async def test_a_prompt_reaches_it_as_it_is(
    deployment: Deployment, body: bytes, headers: dict[str, str]
) -> None:
    async with client_of(deployment.app) as client:
        accepted = await client.post(HF, content=body, headers=headers | {"prefer": "respond-async"})

    assert accepted.status_code == 202
    assert _taken(_hand(deployment)).raw


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/v1/chat/completions", CHAT, "messages"),
        (HF, {"inputs": TURNS}, "inputs"),
        ("/v1/jobs", {"model": BARE, "input": {"prompt": "What is this?"}}, "input.prompt"),
        ("/v1/jobs", CHAT, "messages"),
    ],
)
async def test_a_conversation_is_refused_before_anything_is_queued(
    deployment: Deployment, path: str, body: dict[str, Any], param: str
) -> None:
    async with client_of(deployment.app) as client:
        refused = await client.post(path, json=body)
        listed = (await client.get("/v1/jobs")).json()["data"]

    assert refused.status_code == 400
    assert "no_chat_template" in refused.text
    assert f'"{param}"' in refused.text or f"`{param}`" in refused.text
    assert listed == []


async def test_what_its_worker_says_comes_before_what_its_folder_says(deployment: Deployment) -> None:
    _hand(deployment).beat(chat_template="1")
    deployment.worker.beat(chat_template="0")
    async with client_of(deployment.app) as client:
        chat = await client.post("/v1/jobs", json=CHAT)
        refused = await client.post("/v1/jobs", json={**CHAT, "model": "sightline/tiny"})

    assert (chat.status_code, refused.status_code) == (202, 400)
    assert not _taken(_hand(deployment)).raw


async def test_a_model_with_a_template_gets_a_prompt_as_it_stands_where_asked(deployment: Deployment) -> None:
    raw = {"raw": True}
    body = {"model": "sightline/tiny", "input": {"prompt": "A cat is"}, "parameters": raw}
    variables = {**raw, "chat_template_kwargs": {"enable_thinking": False}}
    async with client_of(deployment.app) as client:
        accepted = await client.post("/v1/jobs", json=body)
        refused = await client.post("/v1/jobs", json={**body, "parameters": variables})

    assert (accepted.status_code, refused.status_code) == (202, 400)
    assert refused.json()["param"] == "parameters.chat_template_kwargs"
    assert Request.model_validate_json(deployment.worker.take().request).raw

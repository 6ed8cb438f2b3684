"""A model without a chat template answers on the raw route only, and every other door says so at once."""

from typing import Any

import pytest

from shared.models_file import load_models
from shared.request import Request
from tests.routes.conftest import Stage
from tests.support.app import client_of
from tests.support.pictures import picture
from tests.support.scripted_worker import Hand

BARE = "org/bare"
HF = f"/models/{BARE}"
TURN = {"role": "user", "content": "What is this?"}
CHAT = {"model": BARE, "messages": [TURN]}
TURNS = [TURN, {"role": "assistant", "content": "A cat."}, TURN]


def _hand(stage: Stage) -> Hand:
    models = load_models(stage.hand.settings.models_file)
    return Hand(stage.hand.settings, stage.hand.store, models.resolve(BARE))


def _taken(hand: Hand) -> Request:
    return Request.model_validate_json(hand.take().request)


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b'{"inputs": "A cat is"}', {}),
        (b'{"inputs": [{"role": "user", "content": "A cat is"}]}', {}),
        (picture(), {"content-type": "image/png"}),
    ],
)
async def test_a_prompt_reaches_it_as_it_stands(stage: Stage, body: bytes, headers: dict[str, str]) -> None:
    async with client_of(stage.app) as client:
        accepted = await client.post(HF, content=body, headers=headers | {"prefer": "respond-async"})

    assert accepted.status_code == 202
    assert _taken(_hand(stage)).raw


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/v1/chat/completions", CHAT, "messages"),
        (f"{HF}/v1/chat/completions", CHAT, "messages"),
        (HF, {"inputs": TURNS}, "inputs"),
        (HF, {"inputs": [{"role": "system", "content": "Be brief."}, TURN]}, "inputs"),
        ("/v1/jobs", {"model": BARE, "input": {"prompt": "What is this?"}}, "input.prompt"),
        ("/v1/jobs", CHAT, "messages"),
    ],
)
async def test_a_conversation_is_refused_before_anything_is_queued(
    stage: Stage, path: str, body: dict[str, Any], param: str
) -> None:
    async with client_of(stage.app) as client:
        refused = await client.post(path, json=body)
        listed = (await client.get("/v1/jobs")).json()["data"]

    assert refused.status_code == 400
    assert "no_chat_template" in refused.text
    assert f'"{param}"' in refused.text or f"`{param}`" in refused.text
    assert listed == []


async def test_what_its_worker_says_comes_before_what_its_folder_says(stage: Stage) -> None:
    _hand(stage).beat(chat_template="1")
    stage.hand.beat(chat_template="0")
    async with client_of(stage.app) as client:
        chat = await client.post("/v1/jobs", json=CHAT)
        refused = await client.post("/v1/jobs", json={**CHAT, "model": "sightline/tiny"})

    assert (chat.status_code, refused.status_code) == (202, 400)
    assert not _taken(_hand(stage)).raw


async def test_a_model_with_a_template_gets_a_prompt_as_it_stands_where_asked(stage: Stage) -> None:
    raw = {"raw": True}
    body = {"model": "sightline/tiny", "input": {"prompt": "A cat is"}, "parameters": raw}
    variables = {**raw, "chat_template_kwargs": {"enable_thinking": False}}
    async with client_of(stage.app) as client:
        accepted = await client.post("/v1/jobs", json=body)
        refused = await client.post("/v1/jobs", json={**body, "parameters": variables})

    assert (accepted.status_code, refused.status_code) == (202, 400)
    assert refused.json()["param"] == "parameters.chat_template_kwargs"
    assert Request.model_validate_json(stage.hand.take().request).raw

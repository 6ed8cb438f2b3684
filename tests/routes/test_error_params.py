"""An error found behind the door names the field as its caller wrote it, also where callers share a run."""

import base64
from typing import Any

import pytest

from tests.routes.conftest import Deployment
from tests.support.app import client_of
from tests.support.asgi_exchange import Exchange, posted
from tests.support.pictures import picture, png

B64 = base64.b64encode(picture()).decode()
URI = f"data:image/png;base64,{B64}"
TINY = "sightline/tiny"
HF = f"/models/{TINY}"
CHATS = "/v1/chat/completions"
PARTS = [{"type": "image_url", "image_url": {"url": URI}}, {"type": "text", "text": "What?"}]


def _chat(**fields: Any) -> dict[str, Any]:
    return {"model": TINY, "messages": [{"role": "user", "content": PARTS}], **fields}


def _job(**parameters: Any) -> dict[str, Any]:
    return {"model": TINY, "input": {"prompt": "What?", "image": B64}, "parameters": parameters}


def _hf(**parameters: Any) -> dict[str, Any]:
    return {"inputs": {"image": B64, "text": "What?"}, "parameters": parameters}


@pytest.mark.parametrize(
    ("path", "body", "found", "told"),
    [
        (CHATS, _chat(), "images[0]", "messages[0].content[0].image_url.url"),
        ("/v1/jobs", _job(), "images[0]", "input.image"),
        (HF, _hf(), "images[0]", "inputs.image"),
        (CHATS, _chat(max_tokens=9999), "max_new_tokens", "max_tokens"),
        ("/v1/jobs", _job(max_completion_tokens=9999), "max_new_tokens", "parameters.max_completion_tokens"),
        (HF, _hf(max_new_tokens=9999), "max_new_tokens", "parameters.max_new_tokens"),
        (
            HF,
            _hf(generate_kwargs={"temperature": 0}),
            "temperature",
            "parameters.generate_kwargs.temperature",
        ),
        (CHATS, _chat(min_tokens=9999), "min_new_tokens", "min_tokens"),
        ("/v1/jobs", _job(logit_bias={"9999": 1}), "logit_bias", "parameters.logit_bias"),
        (CHATS, _chat(response_format={"type": "json_object"}), "format", "response_format"),
        (
            "/v1/jobs",
            _job(structured_outputs={"regex": "a"}),
            "format",
            "parameters.structured_outputs",
        ),
        (HF, _hf(grammar={"type": "regex", "value": "a"}), "format", "parameters.grammar"),
        ("/v1/jobs", _job(), "messages", "input.prompt"),
        (HF, _hf(), "messages", "inputs"),
    ],
)
async def test_a_workers_error_names_the_callers_own_field(
    deployment: Deployment, path: str, body: dict[str, Any], found: str, told: str
) -> None:
    deployment.worker.beat()
    call = posted(deployment.app, body, path, prefer="wait=30")
    await _fail(deployment, found)
    await call.finish()

    assert told in call.body.decode()
    assert (await _error(deployment, call.headers["x-job-id"]))["param"] == told


async def test_a_body_that_is_the_picture_has_no_path(deployment: Deployment) -> None:
    deployment.worker.beat()
    body = Exchange(
        deployment.app, "POST", HF, headers={"content-type": "image/png"}, chunks=(picture(),)
    ).start()
    await _fail(deployment, "images[0]")
    await body.finish()

    assert (await _error(deployment, body.headers["x-job-id"]))["param"] is None


async def test_callers_who_share_a_run_are_each_told_their_own_path(deployment: Deployment) -> None:
    deployment.worker.beat()
    async with client_of(deployment.app) as client:
        mine = await client.post("/v1/jobs", json=_job(seed=1))
        theirs = await client.post("/v1/jobs", json=_chat() | {"parameters": {"seed": 1}})
        await _fail(deployment, "images[0]")
        params = [
            (await client.get(j.json()["urls"]["self"])).json()["error"]["param"] for j in (mine, theirs)
        ]

    assert theirs.headers["x-cache"] == "COALESCED"
    assert params == ["input.image", "messages[0].content[0].image_url.url"]


async def test_pictures_too_many_together_name_the_first_that_is_too_much(deployment: Deployment) -> None:
    small = base64.b64encode(png((6, 6), b"")).decode()
    async with client_of(deployment.app) as client:
        refused = await client.post(HF, json={"inputs": {"images": [small] * 257, "text": "What?"}})

    assert (refused.status_code, refused.json()["error_type"]) == (400, "invalid_image")
    assert refused.json()["error"].startswith("`inputs.images[256]`: ")


async def _fail(deployment: Deployment, found: str) -> None:
    """As a worker that names what it found in the request's own terms."""
    deployment.worker.fail(await deployment.worker.taken(), "invalid_request", "It cannot be used.", found)


async def _error(deployment: Deployment, job: str) -> dict[str, Any]:
    async with client_of(deployment.app) as client:
        return dict((await client.get(f"/v1/jobs/{job}")).json()["error"])

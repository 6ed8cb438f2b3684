"""Sounds through the doors: in every spelling, once in the store, and only where the model listens."""

import base64
from typing import Any

import pytest

from shared.request import Request
from tests.routes.conftest import Deployment, asked, problem
from tests.support.app import client_of
from tests.support.sounds import sound

TINY = "sightline/tiny"
WAV, MP3 = sound(), sound("MP3")


def inline(data: bytes) -> str:
    return base64.b64encode(data).decode()


def audio(data: bytes = WAV, **more: Any) -> dict[str, Any]:
    return {"type": "input_audio", "input_audio": {"data": inline(data), "format": "wav", **more}}


def turns(*parts: dict[str, Any]) -> dict[str, Any]:
    content = [{"type": "text", "text": "What is said?"}, *parts]
    return {"model": TINY, "messages": [{"role": "user", "content": content}]}


@pytest.mark.parametrize(
    "part",
    [
        audio(format="mp3"),
        audio(format=None),
        {"type": "audio", "audio": f"data:audio/wav;base64,{inline(WAV)}"},
        {"type": "audio", "url": f"data:audio/x-wav;base64,{inline(WAV)}"},
        {"type": "audio", "audio": inline(WAV)},
    ],
)
async def test_a_sound_is_one_question_however_spelled(deployment: Deployment, part: dict[str, Any]) -> None:
    deployment.worker.beat(sampling_rate="16000")
    await asked(deployment, turns(audio()))
    claim = deployment.worker.take()
    deployment.worker.succeed(claim, "Hello.")
    other = await asked(deployment, turns(audio(MP3)))
    again = await asked(deployment, turns(part))
    assert (other.headers["x-cache"], again.headers["x-cache"]) == ("MISS", "HIT")
    [kept] = Request.model_validate_json(claim.request).sounds
    assert kept.digest is not None


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/chat/completions"])
async def test_a_model_that_does_not_listen_says_so_at_once(deployment: Deployment, path: str) -> None:
    deployment.worker.beat(sampling_rate="0")
    refused = await asked(deployment, turns(audio()), path)
    assert problem(refused)[:2] == (400, "unsupported_parameter")
    assert f"{TINY} takes no audio" in refused.text
    assert problem(refused)[2].startswith("messages[0].content[1].input_audio")
    assert deployment.worker.idle()


async def test_a_model_whose_folder_has_no_ear_needs_no_worker_to_say_so(deployment: Deployment) -> None:
    body = {"model": "org/bare", "messages": [{"role": "user", "content": [audio()]}]}
    refused = await asked(deployment, body)
    assert refused.status_code == 400
    assert refused.json()["code"] == "unsupported_parameter"


@pytest.mark.parametrize(
    ("part", "code", "at"),
    [
        ({"type": "input_audio"}, "invalid_request", "input_audio"),
        ({"type": "audio", "audio": "/etc/passwd"}, "invalid_audio", "audio"),
        ({"type": "audio", "url": "file:///etc/passwd"}, "invalid_audio", "url"),
        ({"type": "audio", "url": "http://127.0.0.1/a.wav"}, "invalid_audio", "url"),
        ({"type": "audio", "audio": "data:image/png;base64,AAAA"}, "invalid_audio", "audio"),
        ({"type": "audio", "audio": inline(WAV), "text": "x"}, "unknown_field", "text"),
    ],
)
async def test_what_is_no_sound_is_refused_where_it_stands(
    deployment: Deployment, part: dict[str, Any], code: str, at: str
) -> None:
    deployment.worker.beat(sampling_rate="16000")
    refused = await asked(deployment, turns(part))
    assert problem(refused) == (400, code, f"messages[0].content[1].{at}")


async def test_too_many_sounds_are_refused_by_the_first_that_is(deployment: Deployment) -> None:
    deployment.worker.beat(sampling_rate="16000")
    refused = await asked(deployment, turns(*[audio()] * 5))
    assert problem(refused) == (400, "invalid_audio", "messages[0].content[5].input_audio.data")


async def test_a_response_hears_and_lists_what_it_heard(deployment: Deployment) -> None:
    deployment.worker.beat(sampling_rate="16000")
    said = [{"role": "user", "content": [{"type": "input_text", "text": "What?"}, audio()]}]
    body = {"model": TINY, "input": said, "background": True}
    async with client_of(deployment.app) as client:
        made = await client.post("/v1/responses", json=body)
        listed = await client.get(f"/v1/responses/{made.json()['id']}/input_items")
    [item] = listed.json()["data"]
    assert [part["type"] for part in item["content"]] == ["input_text", "input_audio"]


async def test_a_retry_hears_the_same_sound(deployment: Deployment) -> None:
    deployment.worker.beat(sampling_rate="16000")
    made = await asked(deployment, turns(audio()))
    claim = deployment.worker.take()
    deployment.worker.fail(claim, "invalid_audio", "It could not be decoded.", "sounds[0]")
    async with client_of(deployment.app) as client:
        failed = await client.get(f"/v1/jobs/{made.json()['id']}")
        again = await client.post(f"/v1/jobs/{made.json()['id']}/retry")
    assert failed.json()["error"]["param"] == "messages[0].content[1].input_audio.data"
    assert again.status_code == 202
    assert (
        Request.model_validate_json(deployment.worker.take().request).sounds
        == Request.model_validate_json(claim.request).sounds
    )

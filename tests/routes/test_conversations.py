"""Conversations that go on by `previous_response_id`, with their pictures."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from api.admission import media_check
from shared.blobs import Blobs, digest
from shared.settings import BlobSettings
from tests.routes.conftest import Deployment
from tests.support.app import client_of
from tests.support.openapi import check, shape
from tests.support.pictures import picture, png, png_chunk
from tests.support.responses import LATER, PATH, answered, begun, finish


def shown(data: bytes, **beside: str) -> dict[str, Any]:
    """One turn that shows a picture."""
    uri = f"data:image/png;base64,{base64.b64encode(data).decode()}"
    return {"role": "user", "content": [{"type": "input_image", "image_url": uri, **beside}]}


WIDE, HIGH = shown(picture(size=(8, 6)), detail="high"), shown(picture(size=(6, 8)))


async def test_a_conversation_goes_on_with_pictures_and_new_instructions(deployment: Deployment) -> None:
    async with client_of(deployment.app) as client:
        one = await answered(deployment.worker, client, input=[WIDE], instructions="Be brief.")
        said = {"input": [HIGH], "previous_response_id": one, "instructions": "Shout."}
        two = await begun(deployment.worker, client, **said)
        asked = json.loads(deployment.worker.take().request)
        listed = (await client.get(f"{PATH}/{two}/input_items", params={"order": "asc"})).json()
        pictures = await client.get(f"{PATH}/{two}/input_items?include[]=message.input_image.image_url")
        told = (await client.get(f"{PATH}/{two}")).json()

    check(shape("InputItemList"), listed)
    items = listed["data"]
    assert [m["role"] for m in asked["messages"]] == ["system", "user", "assistant", "user"]
    assert asked["messages"][0]["parts"][0]["text"] == "Shout."
    assert [m["role"] for m in items] == ["user", "assistant", "user"]
    assert items[1]["content"][0]["text"] == "A cat."
    assert items[0]["content"][0]["image_url"] is None
    assert [item["content"][0].get("detail") for item in items] == ["high", None, "auto"]
    addresses = [item["content"][0].get("image_url") for item in pictures.json()["data"]]
    assert addresses == [HIGH["content"][0]["image_url"], None, WIDE["content"][0]["image_url"]]
    assert (told["previous_response_id"], told["instructions"]) == (one, "Shout.")


async def test_a_response_can_be_read_while_its_picture_is_fetched(deployment: Deployment) -> None:
    part = {"type": "input_image", "image_url": "https://example.org/a.png"}
    async with client_of(deployment.app) as client:
        deployment.worker.beat()
        said = LATER | {"input": [{"role": "user", "content": [part]}], "instructions": "Be brief."}
        response = (await client.post(PATH, json=said)).json()["id"]
        fetching = (await client.get(f"{PATH}/{response}")).json()
        deployment.worker.take_in()
        finish(deployment.worker)
        done = (await client.get(f"{PATH}/{response}")).json()

    assert [r["status"] for r in (fetching, done)] == ["queued", "completed"]
    assert {r["instructions"] for r in (fetching, done)} == {"Be brief."}


async def test_what_cannot_be_gone_on_from_is_named(deployment: Deployment) -> None:
    async with client_of(deployment.app) as client:
        waiting = await begun(deployment.worker, client)
        on_waiting = await client.post(PATH, json=LATER | {"previous_response_id": waiting})
        await client.post(f"{PATH}/{waiting}/cancel")
        on_cancelled = await client.post(PATH, json=LATER | {"previous_response_id": waiting})
        on_nothing = await client.post(PATH, json=LATER | {"previous_response_id": "resp_0"})

    errors = [reply.json()["error"] for reply in (on_waiting, on_cancelled, on_nothing)]
    assert [e["code"] for e in errors] == ["job_not_ended", "invalid_request", "response_not_found"]
    assert {e["param"] for e in errors} == {"previous_response_id"}


async def test_a_repeated_call_is_answered_though_what_it_went_on_is_gone(deployment: Deployment) -> None:
    key = {"idempotency-key": "k"}
    async with client_of(deployment.app) as client:
        one = await answered(deployment.worker, client)
        body = LATER | {"input": "Sure?", "previous_response_id": one}
        first = await client.post(PATH, json=body, headers=key)
        await client.delete(f"{PATH}/{one}")
        again = await client.post(PATH, json=body, headers=key)

    assert (again.status_code, again.json()) == (200, first.json())


async def test_a_picture_given_back_twice_counts_twice(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with client_of(deployment.app) as client:
        one = await answered(deployment.worker, client, input=[WIDE, WIDE])
        params = {"include[]": "message.input_image.image_url", "limit": "1"}
        url = f"{PATH}/{one}/input_items"
        uri = (await client.get(url, params=params)).json()["data"][0]["content"][0]["image_url"]
        limits = vars(deployment.worker.settings.pictures)
        monkeypatch.setitem(limits, "max_mb_request", 1.5 * len(uri) / 2**20)
        both = await client.get(url, params=params | {"limit": "2"})
        single = await client.get(url, params=params)
    assert (both.status_code, single.status_code) == (413, 200)


@pytest.mark.parametrize("known", [media_check.CACHED_PICTURES, 0])
@pytest.mark.parametrize("deployment", [{"pictures": {"max_mb_request": 2500 / 2**20}}], indirect=True)
async def test_a_conversation_collects_no_more_bytes_of_pictures_than_one_request_may_have(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch, known: int
) -> None:
    monkeypatch.setattr(media_check, "CACHED_PICTURES", known)
    one, two, three = (
        shown(png((8, 6), b"", extra=(png_chunk(b"juNk", b"x" * n),))) for n in range(900, 903)
    )
    async with client_of(deployment.app) as client:
        first = await answered(deployment.worker, client, input=[one])
        # The same picture counts once, however often it is shown.
        second = await answered(deployment.worker, client, input=[one, two], previous_response_id=first)
        monkeypatch.setattr(Blobs, "read", _unread)
        on = await client.post(PATH, json=LATER | {"input": [three], "previous_response_id": second})

    error = on.json()["error"]
    assert (on.status_code, error["code"]) == (413, "payload_too_large")
    assert error["param"] == "input[0].content[0].image_url"


async def test_who_goes_on_from_a_lost_picture_is_told_at_once(
    deployment: Deployment, tmp_path: Path
) -> None:
    blobs = Blobs(BlobSettings(url=str(tmp_path / "blobs")))
    async with client_of(deployment.app) as client:
        one = await answered(deployment.worker, client, input=[WIDE])
        blobs.delete(digest(picture(size=(8, 6))))
        on = await client.post(PATH, json=LATER | {"input": [HIGH], "previous_response_id": one})

    assert (on.status_code, on.json()["error"]["code"]) == (410, "result_expired")


def _unread(_: Blobs, name: str) -> bytes:
    raise AssertionError(name)

"""Pictures of a job as they were sent, and thumbnails that are kept no longer than they are."""

import asyncio
import io
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from shared.blobs import digest
from tests.routes.conftest import Deployment
from tests.support.app import client_of
from tests.support.circle_questions import data_uri
from tests.support.keys import code_of
from tests.support.pictures import picture, png
from tests.support.uploads import blobs

PHOTO = picture("JPEG", (900, 300))


async def asked(client: httpx.AsyncClient, data: bytes = PHOTO, **more: Any) -> str:
    """Where the picture of a new job is."""
    body = {"model": "sightline/tiny", "input": {"prompt": "What?", "image": data_uri(data)}}
    reply = await client.post("/v1/jobs", json=body | more)
    assert reply.status_code == 202, reply.text
    return f"{reply.json()['urls']['self']}/pictures/0"


def seen(reply: httpx.Response) -> Image.Image:
    assert reply.status_code == 200, reply.text
    assert reply.headers["content-type"] == "image/jpeg"
    return Image.open(io.BytesIO(reply.content))


@pytest.mark.parametrize(("data", "kind"), [(PHOTO, "image/jpeg"), (b"<svg/>", "image/svg+xml")])
async def test_a_picture_is_read_as_it_was_sent(deployment: Deployment, data: bytes, kind: str) -> None:
    async with client_of(deployment.app) as client:
        reply = await client.get(await asked(client, data))

    assert (reply.content, reply.headers["content-type"]) == (data, kind)
    assert reply.headers["cache-control"] == "no-store"
    assert reply.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(("side", "size"), [(1, (64, 21)), (96, (128, 43)), (9999, (512, 171))])
async def test_a_thumbnail_has_a_known_size(deployment: Deployment, side: int, size: tuple[int, int]) -> None:
    async with client_of(deployment.app) as client:
        reply = await client.get(await asked(client), params={"side": side})
    assert seen(reply).size == size


async def test_a_thumbnail_is_upright_opaque_and_says_nothing_of_its_camera(deployment: Deployment) -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "Camera"
    async with client_of(deployment.app) as client:
        photo = await asked(client, picture("JPEG", (40, 20), exif=exif))
        turned = seen(await client.get(photo, params={"side": 64}))
        drawing = await asked(client, picture("PNG", (4, 4), "RGBA"))
        clear = seen(await client.get(drawing, params={"side": 64}))

    assert (turned.size, len(turned.getexif())) == ((20, 40), 0)
    assert (clear.size, clear.mode) == ((4, 4), "RGB"), "no larger than the picture"


async def test_a_thumbnail_shows_no_file_of_the_service(deployment: Deployment, tmp_path: Path) -> None:
    """Where an entity is declared twice, one parser takes the first declaration and another the second."""
    (tmp_path / "secret.png").write_bytes(picture("PNG", (40, 20)))
    shown = f"""<!ENTITY a '<image href="{tmp_path}/secret.png" width="40" height="20"/>'>"""
    drawing = f"""<!DOCTYPE svg [<!ENTITY a SYSTEM "b">{shown}]>
        <svg xmlns="http://www.w3.org/2000/svg" width="40" height="20">&a;</svg>"""
    async with client_of(deployment.app) as client:
        reply = await client.get(await asked(client, drawing.encode()), params={"side": 64})
    assert (reply.status_code, code_of(reply)) == (400, "invalid_image")


async def test_many_who_ask_at_once_share_one_thumbnail(deployment: Deployment) -> None:
    async with client_of(deployment.app) as client:
        url = await asked(client)
        before = len(blobs(deployment.worker))
        replies = await asyncio.gather(*(client.get(url, params={"side": 64}) for _ in range(8)))
        again = await client.get(url, params={"side": 50})

    assert len({reply.content for reply in [*replies, again]}) == 1
    assert len(blobs(deployment.worker)) == before + 1


async def test_thumbnails_go_with_their_job(deployment: Deployment) -> None:
    async with client_of(deployment.app) as client:
        url = await asked(client)
        for side in (64, 256):
            await client.get(url, params={"side": side})
        deployment.worker.succeed(deployment.worker.take(), "A cat.")
        assert (await client.get(url, params={"side": 128})).status_code == 200
        assert len(blobs(deployment.worker)) == 4
        await client.delete(url.removesuffix("/pictures/0"))
        gone = await client.get(url, params={"side": 64})

    assert blobs(deployment.worker) == []
    assert (gone.status_code, code_of(gone)) == (404, "job_not_found")


async def test_no_file_of_a_caller_is_taken_for_a_thumbnail(deployment: Deployment) -> None:
    text = f"{digest(PHOTO)} 64".encode()
    async with client_of(deployment.app) as client:
        file = {"file": ("lines.jsonl", text)}
        assert (await client.post("/v1/files", files=file, data={"purpose": "batch"})).status_code == 200
        reply = await client.get(await asked(client), params={"side": 64})
    assert seen(reply).size == (64, 21)


async def test_a_damaged_picture_has_no_thumbnail(deployment: Deployment) -> None:
    async with client_of(deployment.app) as client:
        # Its headers are right, so that only a decoder finds out.
        url = await asked(client, png((8, 8), b"\x09" * 200))
        reply = await client.get(url, params={"side": 64})
    assert (reply.status_code, code_of(reply)) == (400, "invalid_image")


async def test_a_picture_that_is_no_longer_there_is_gone(deployment: Deployment) -> None:
    async with client_of(deployment.app) as client:
        url = await asked(client)
        for file in blobs(deployment.worker):
            file.unlink()
        codes = [code_of(await client.get(url + query)) for query in ("", "?side=64")]
        request = await client.get(url.replace("/pictures/0", "/request"))

    assert codes == ["result_expired"] * 2
    assert request.json()["pictures"] == []


@pytest.mark.parametrize("place", ["1", "-1", "x", "9999", "%30%30%30%30"])
async def test_a_job_has_no_other_pictures(deployment: Deployment, place: str) -> None:
    async with client_of(deployment.app) as client:
        url = (await asked(client)).removesuffix("0")
        reply = await client.get(url + place)
    assert (reply.status_code, code_of(reply)) == (404, "file_not_found")


async def test_pictures_that_are_fetched_or_not_stored_are_not_shown(deployment: Deployment) -> None:
    body = {"model": "sightline/tiny", "input": {"prompt": "What?", "image": "https://example.org/a.png"}}
    async with client_of(deployment.app) as client:
        fetched = (await client.post("/v1/jobs", json=body)).json()["urls"]["self"]
        unstored = await asked(client, store=False)
        codes = [code_of(await client.get(url)) for url in (f"{fetched}/pictures/0", unstored)]
    assert codes == ["file_not_found", "job_not_found"]

"""Pictures that are sent once as a file and named by its id."""

import base64
from pathlib import Path
from typing import Any

import pytest
from openai import AsyncOpenAI

from tests.routes.conftest import Deployment
from tests.support.app import client_of
from tests.support.pictures import picture
from tests.support.uploads import asking, blobs, form, post

CHATS = "/v1/chat/completions"


async def test_a_picture_named_by_its_file_is_the_same_question_as_its_bytes(
    deployment: Deployment, client: AsyncOpenAI
) -> None:
    deployment.worker.beat()
    data = picture()
    made = await client.files.create(file=("a.png", data), purpose="vision")
    uri = f"data:image/png;base64,{base64.b64encode(data).decode()}"
    inline = {"type": "image_url", "image_url": {"url": uri}}
    named: list[dict[str, Any]] = [
        {"type": "input_image", "file_id": made.id},
        {"type": "image_file", "image_file": {"file_id": made.id}},
        {"type": "image", "file_id": made.id},
    ]
    text = {"type": "text", "text": "What is this?"}
    async with client_of(deployment.app) as caller:
        first = await caller.post("/v1/jobs", json=asking(inline, text))
        deployment.worker.succeed(deployment.worker.take(), "A square.")
        jobs = [await caller.post("/v1/jobs", json=asking(part, text)) for part in named]
        chats = [await caller.post(CHATS, json=asking(part, text)) for part in named]
    assert first.headers["x-cache"] == "MISS"
    assert [reply.headers["x-cache"] for reply in (*jobs, *chats)] == ["HIT"] * 6


async def test_a_question_goes_on_though_the_file_of_its_picture_is_deleted(
    deployment: Deployment, client: AsyncOpenAI
) -> None:
    deployment.worker.beat()
    made = await client.files.create(file=("a.png", picture()), purpose="user_data")
    async with client_of(deployment.app) as caller:
        job = await caller.post("/v1/jobs", json=asking({"type": "image", "file_id": made.id}))
    await client.files.delete(made.id)
    assert job.status_code == 202
    assert len(blobs(deployment.worker)) == 1, "the worker is to read it"


async def test_a_picture_that_is_no_file_of_its_caller_is_refused_by_field(deployment: Deployment) -> None:
    deployment.worker.beat()
    text = form(('name="purpose"', b"user_data"), ('name="file"', b"no picture"))
    unusable = (await post(deployment.app, text)).json()["id"]
    async with client_of(deployment.app) as caller:
        replies = [
            await caller.post("/v1/jobs", json=asking({"type": "image_file", "image_file": {"file_id": id}}))
            for id in ("file-" + "0" * 32, "sl9:arrivals", "", unusable)
        ]
    told = [(reply.status_code, reply.json()["code"], reply.json()["param"]) for reply in replies]
    where = "messages[0].content[0].image_file.file_id"
    assert told == [*[(404, "file_not_found", where)] * 3, (400, "invalid_image", where)]


async def test_many_large_files_in_one_question_are_refused_before_they_are_read(
    deployment: Deployment, client: AsyncOpenAI
) -> None:
    limit = deployment.worker.settings.pictures.max_mb_request * 2**20
    huge = b"x" * int(limit / 3 + 1)
    made = [(await client.files.create(file=huge + bytes([n]), purpose="user_data")).id for n in range(3)]
    async with client_of(deployment.app) as caller:
        reply = await caller.post("/v1/jobs", json=asking(*({"type": "image", "file_id": id} for id in made)))
    assert (reply.status_code, reply.json()["code"]) == (413, "payload_too_large")


@pytest.mark.parametrize("deployment", [{"api": {"sync_limit_s": 10}}], indirect=True)
async def test_who_waits_for_an_answer_about_a_picture_that_nobody_can_read_now_is_told_at_once(
    deployment: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though its bytes are held already; what was answered before is told still, and a job waits."""
    monkeypatch.setattr("shared.blobs.ASKED_AGAIN_S", 0)
    deployment.worker.beat()
    uri = f"data:image/png;base64,{base64.b64encode(picture()).decode()}"
    shown = {"type": "image_url", "image_url": {"url": uri}}
    known, new = ({"type": "text", "text": text} for text in ("What is this?", "And its colour?"))
    async with client_of(deployment.app) as caller:
        await caller.post("/v1/jobs", json=asking(shown, known))
        deployment.worker.succeed(deployment.worker.take(), "A square.")
        (tmp_path / "blobs").rename(tmp_path / "away")
        told = await caller.post(CHATS, json=asking(shown, new))
        again = await caller.post(CHATS, json=asking(shown, known))
        job = await caller.post("/v1/jobs", json=asking(shown, new))

    assert (told.status_code, told.json()["error"]["code"]) == (503, "store_unavailable")
    assert told.headers["retry-after"] == "30"
    assert again.headers["x-cache"] == "HIT"
    assert (job.status_code, job.headers["x-cache"]) == (202, "MISS")

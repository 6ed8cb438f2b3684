"""Videos through the doors: in every spelling, once in the store, and only where the model watches."""

import base64
from typing import Any

import pytest
from openai import AsyncOpenAI

from shared.request import Request
from tests.routes.conftest import Deployment, asked, problem
from tests.support.app import client_of
from tests.support.uploads import form, post
from tests.support.videos import video

TINY = "sightline/tiny"
MP4, WEBM = video(), video(kind="webm", codec="libvpx-vp9")
PLACE = "messages[0].content[1]"


def uri(data: bytes = MP4, kind: str = "video/mp4") -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def part(url: str = uri()) -> dict[str, Any]:
    return {"type": "video_url", "video_url": {"url": url}}


def turns(*parts: dict[str, Any], **more: Any) -> dict[str, Any]:
    content = [{"type": "text", "text": "What happens?"}, *parts]
    return {"model": TINY, "messages": [{"role": "user", "content": content}], **more}


async def test_a_video_is_one_question_however_spelled(deployment: Deployment, client: AsyncOpenAI) -> None:
    deployment.worker.beat(videos="1")
    made = await client.files.create(file=("a.mp4", MP4), purpose="vision")
    first = await asked(deployment, turns(part()))
    claim = deployment.worker.take()
    deployment.worker.succeed(claim, "It moves.")
    spellings: list[dict[str, Any]] = [
        {"type": "video_url", "video_url": uri(kind="video/quicktime")},
        {"type": "video", "video": uri()},
        {"type": "video", "url": uri(kind="application/octet-stream")},
        {"type": "video", "video": base64.b64encode(MP4).decode()},
        {"type": "video", "file_id": made.id},
        {"type": "input_video", "video_url": uri()},
        {"type": "input_video", "file_id": made.id},
        {"type": "image_url", "image_url": {"url": uri()}},
    ]
    again = [await asked(deployment, turns(spelling)) for spelling in spellings]
    assert first.headers["x-cache"] == "MISS"
    assert [reply.headers["x-cache"] for reply in again] == ["HIT"] * len(spellings)
    [kept] = Request.model_validate_json(claim.request).videos
    assert kept.digest is not None


async def test_other_frames_are_another_question_however_spelled(deployment: Deployment) -> None:
    deployment.worker.beat(videos="1")
    await asked(deployment, turns(part()))
    deployment.worker.succeed(deployment.worker.take(), "It moves.")
    first = await asked(deployment, turns(part(), parameters={"num_frames": 4}))
    claim = deployment.worker.take()
    deployment.worker.succeed(claim, "It still moves.")
    assert Request.model_validate_json(claim.request).parameters.num_frames == 4
    bodies = [
        turns(part(), mm_processor_kwargs={"num_frames": 4, "do_sample_frames": True}),
        turns(part(), media_io_kwargs={"video": {"num_frames": 4}}),
        turns(part(), chat_template_kwargs={"num_frames": 4}),
    ]
    again = [await asked(deployment, body, "/v1/chat/completions") for body in bodies]
    assert (first.headers["x-cache"], [reply.headers["x-cache"] for reply in again]) == ("MISS", ["HIT"] * 3)
    task = {"inputs": turns(part())["messages"], "parameters": {"num_frames": 4}}
    assert (await asked(deployment, task, f"/models/{TINY}")).headers["x-cache"] == "HIT"
    content = [{"type": "input_text", "text": "What happens?"}, {"type": "input_video", "video_url": uri()}]
    response = {"model": TINY, "input": [{"role": "user", "content": content}]}
    spellings = (
        {"mm_processor_kwargs": {"num_frames": 4}},
        {"media_io_kwargs": {"video": {"num_frames": 4}}},
    )
    again = [await asked(deployment, response | spelling, "/v1/responses") for spelling in spellings]
    assert [reply.headers["x-cache"] for reply in again] == ["HIT", "HIT"]
    other = await asked(deployment, turns(part(), parameters={"fps": 4}))
    assert other.headers["x-cache"] == "MISS"


@pytest.mark.parametrize(
    ("more", "at"),
    [
        ({"mm_processor_kwargs": {"num_frames": 4, "fps": 2}}, "mm_processor_kwargs.fps"),
        ({"media_io_kwargs": {"video": {"fps": 0}}}, "media_io_kwargs.video.fps"),
        ({"chat_template_kwargs": {"num_frames": "all"}}, "chat_template_kwargs.num_frames"),
        ({"mm_processor_kwargs": {"fps": 2}, "chat_template_kwargs": {"fps": 1}}, "mm_processor_kwargs.fps"),
    ],
)
async def test_what_is_asked_of_frames_is_not_lost(
    deployment: Deployment, more: dict[str, Any], at: str
) -> None:
    deployment.worker.beat(videos="1")
    refused = await asked(deployment, turns(part(), **more), "/v1/chat/completions")
    assert problem(refused) == (400, "invalid_request", at)


async def test_a_response_is_asked_about_a_video(deployment: Deployment) -> None:
    deployment.worker.beat(videos="1")
    content = [{"type": "input_text", "text": "What happens?"}, {"type": "input_video", "video_url": uri()}]
    body = {"model": TINY, "input": [{"role": "user", "content": content}], "background": True}
    made = await asked(deployment, body, "/v1/responses")
    deployment.worker.succeed(deployment.worker.take(), "It moves.")
    async with client_of(deployment.app) as client:
        items = (await client.get(f"/v1/responses/{made.json()['id']}/input_items")).json()["data"]
    assert items[0]["content"][1] == {"type": "input_video", "file_id": None, "video_url": None}


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/chat/completions"])
async def test_a_model_that_takes_no_videos_says_so_at_once(deployment: Deployment, path: str) -> None:
    deployment.worker.beat(videos="0")
    refused = await asked(deployment, turns(part()), path)
    assert problem(refused) == (400, "unsupported_parameter", f"{PLACE}.video_url.url")
    assert f"{TINY} takes no videos" in refused.text
    assert deployment.worker.idle()


@pytest.mark.parametrize(
    ("sent", "code", "at"),
    [
        (part(uri(b"no video")), "invalid_video", "video_url.url"),
        (part("data:image/png;base64,AAAA"), "invalid_video", "video_url.url"),
        (part("http://169.254.169.254/a.mp4"), "invalid_video", "video_url.url"),
        ({"type": "video", "video": "/etc/passwd"}, "invalid_video", "video"),
        ({"type": "video", "url": "file:///etc/passwd"}, "invalid_video", "url"),
        ({"type": "video", "path": "/videos/a.mp4"}, "unsupported_parameter", "path"),
        ({"type": "video", "video": [uri(), uri()]}, "invalid_request", "video"),
        ({"type": "video", "file_id": "file-" + "0" * 32}, "file_not_found", "file_id"),
    ],
)
async def test_what_is_no_video_is_refused(
    deployment: Deployment, sent: dict[str, Any], code: str, at: str
) -> None:
    deployment.worker.beat(videos="1")
    refused = await asked(deployment, turns(sent))
    assert problem(refused)[1:] == (code, f"{PLACE}.{at}")
    assert deployment.worker.idle()


async def test_too_many_videos_are_refused_unread(deployment: Deployment, client: AsyncOpenAI) -> None:
    """Else one small call could take more memory than a process has."""
    deployment.worker.beat(videos="1")
    upload = await client.files.create(file=("a.mp4", MP4), purpose="vision")
    await client.files.delete(upload.id)
    refused = await asked(deployment, turns(*[{"type": "video", "file_id": upload.id}] * 5))
    assert problem(refused) == (400, "invalid_video", "messages[0].content[5].file_id")


async def test_an_upload_for_looking_at_is_a_picture_or_a_video(deployment: Deployment) -> None:
    vision = ('name="purpose"', b"vision")
    watched = await post(deployment.app, form(vision, ('name="file"; filename="a.webm"', WEBM)))
    heard = await post(deployment.app, form(vision, ('name="file"; filename="a.mp4"', b"no video")))
    assert (watched.status_code, heard.status_code) == (200, 400)


async def test_the_list_of_models_says_which_take_videos_and_how_large(deployment: Deployment) -> None:
    async def told() -> Any:
        async with client_of(deployment.app) as client:
            return (await client.get(f"/v1/models/{TINY}")).json()

    deployment.worker.beat(videos="0")
    assert "max_videos" not in await told()
    deployment.worker.beat(videos="1")
    limits = {"max_videos": 4, "max_video_mb": 50, "max_video_s": 600, "max_video_frames": 4096}
    assert (await told()).items() >= limits.items()


async def test_an_estimate_of_a_video_leaves_its_tokens_open(deployment: Deployment) -> None:
    deployment.worker.beat(videos="1")
    told = (await asked(deployment, turns(part()), "/v1/estimate")).json()
    assert (told["outcome"], told["tokens"]["prompt"]) == ("queued", None), told

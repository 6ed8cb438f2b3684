"""A video over real processes: from a caller's bytes to the frames that a model is shown."""

import base64
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.conftest import ECHO, ENV, TINY
from tests.support.clients import Api
from tests.support.families.moving import QWEN2_VL
from tests.support.pictures import answering, origin
from tests.support.service import COURIER, running_service
from tests.support.videos import video

MOVING, QUESTION = "test/moving", "What happens?"
MP4 = video()
URI = f"data:video/mp4;base64,{base64.b64encode(MP4).decode()}"


def turns(part: dict[str, Any], text: str = "text") -> list[Any]:
    return [{"role": "user", "content": [part, {"type": text, "text": QUESTION}]}]


TURNS = turns({"type": "video_url", "video_url": {"url": URI}})


@pytest.fixture(scope="module")
def moving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """A service with a tiny random Qwen2-VL, whose worker runs transformers' video processor."""
    folder = QWEN2_VL.folder(tmp_path_factory.getbasetemp())
    row = (
        f'[[models]]\nid = "{MOVING}"\nsource = "{folder}"\ndtype = "float32"\nrows = 2\nmax_new_tokens = 8\n'
    )
    with running_service(row, ENV) as service:
        worker = service.worker(service.models.rows[0], app="tests.support.moving_worker")
        service.processes[MOVING] = worker
        service.ready("api", COURIER, MOVING)
        with Api(service.url()) as client:
            yield client


def asked(api: Api, **wish: int) -> Any:
    body = {
        "model": MOVING,
        "messages": TURNS,
        "mm_processor_kwargs": wish,
        "max_tokens": 8,
        "temperature": 0,
    }
    reply = api.post("/v1/chat/completions", json=body)
    assert reply.status_code == 200, reply.text
    return reply.json()


def test_a_models_own_processor_shows_it_as_many_frames_as_were_asked_for(moving: Api) -> None:
    few, many = (asked(moving, num_frames=count) for count in (2, 8))
    assert few["usage"]["prompt_tokens"] < many["usage"]["prompt_tokens"]
    assert few["choices"][0]["message"]["content"]
    job = moving.ended(
        moving.submit(model=MOVING, messages=TURNS, parameters={"num_frames": 8, "max_new_tokens": 8})
    )
    assert job["result"]["text"] == many["choices"][0]["message"]["content"], "the same on another route"


def test_a_video_is_shown_in_every_dialect_and_by_url_and_upload(moving: Api) -> None:
    expected = asked(moving, num_frames=4)["choices"][0]["message"]["content"]
    upload = moving.post("/v1/files", files={"file": ("a.mp4", MP4)}, data={"purpose": "vision"})
    file = upload.json()["id"]

    def answer(path: str, body: dict[str, Any]) -> Any:
        reply = moving.post(path, json=body, headers={"x-use-cache": "false"})
        assert reply.status_code == 200, reply.text
        return reply.json()

    with origin(answering(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(MP4), MP4)) as there:
        parts: list[dict[str, Any]] = [
            {"type": "video_url", "video_url": {"url": there.url}},
            {"type": "video", "video": URI},
            {"type": "video", "url": URI},
            {"type": "video", "file_id": file},
            {"type": "input_video", "file_id": file},
        ]
        wish = {"mm_processor_kwargs": {"num_frames": 4}, "max_tokens": 8, "temperature": 0}
        chats = [
            answer("/v1/chat/completions", {"model": MOVING, "messages": turns(part), **wish})
            for part in parts
        ]
    assert [chat["choices"][0]["message"]["content"] for chat in chats] == [expected] * len(parts)
    wish = {"mm_processor_kwargs": {"num_frames": 4}, "max_output_tokens": 8, "temperature": 0}
    for part in ({"type": "input_video", "video_url": URI}, {"type": "input_video", "file_id": file}):
        body = {"model": MOVING, "input": turns(part, "input_text"), **wish}
        assert answer("/v1/responses", body)["output"][0]["content"][0]["text"] == expected
    for part in (TURNS[0]["content"][0], {"type": "video", "file_id": file}):
        body = {"inputs": turns(part), "parameters": {"num_frames": 4, "max_new_tokens": 8}}
        assert answer(f"/models/{MOVING}", body)[0]["generated_text"] == expected


def test_a_model_that_takes_videos_says_so_with_its_limits(moving: Api) -> None:
    [model] = moving.get("/v1/models").json()["data"]
    assert (model["max_videos"], model["max_video_s"], model["max_video_frames"]) == (4, 600, 4096)


def test_a_video_is_decoded_beside_the_worker(api: Api) -> None:
    body = {"model": ECHO, "messages": TURNS, "mm_processor_kwargs": {"num_frames": 3}}
    answer = api.post("/v1/chat/completions", json=body).json()
    assert answer["choices"][0]["message"]["content"] == f"{QUESTION} [3x64x48]"


def test_a_model_that_takes_no_videos_says_so(api: Api) -> None:
    refused = api.post("/v1/chat/completions", json={"model": TINY, "messages": TURNS})
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "unsupported_parameter")

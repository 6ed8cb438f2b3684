"""A question about a picture comes back answered, whatever door it came through."""

import base64
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.e2e.conftest import ECHO, TINY
from tests.support.circle_questions import BLUE, COLOUR, GREEN, RED, Colour, circle
from tests.support.clients import Api
from tests.support.sounds import sound
from tests.support.videos import video


def test_the_model_is_batched_and_many_callers_at_once_read_their_own_answers(api: Api) -> None:
    status = api.get(f"/status/{TINY}").json()
    assert (status["engine"], status["engine_reason"][:11]) == ("continuous", "certified: ")
    asked = [
        (("red", RED), ("blue", BLUE), ("green", GREEN))[number % 3] + (30 + 8 * number,)
        for number in range(12)
    ]

    def ask(colour: Colour, at: int) -> str:
        image = base64.b64encode(circle(colour, at=at)).decode()
        reply = api.post(f"/models/{TINY}", json={"inputs": {"image": image, "text": COLOUR}})
        return str(reply.json()[0]["generated_text"]).lower()

    with ThreadPoolExecutor(len(asked)) as pool:
        answers = list(pool.map(lambda one: ask(*one[1:]), asked))
    assert [word in answer for (word, *_), answer in zip(asked, answers, strict=True)] == [True] * len(asked)


def test_a_job_is_accepted_at_once_and_the_model_s_own_door_knows_its_answer(api: Api) -> None:
    picture = base64.b64encode(circle(RED, at=70)).decode()
    accepted = api.post("/v1/jobs", json={"model": TINY, "input": {"prompt": COLOUR, "image": picture}})
    assert accepted.status_code == 202
    job = api.get(accepted.headers["location"], params={"wait": 30}).json()
    assert "red" in job["result"]["text"].lower()
    assert [a["outcome"] for a in job["attempts"]] == ["succeeded"]
    reply = api.post(f"/models/{TINY}", json={"inputs": {"image": picture, "text": COLOUR}})
    assert reply.headers["x-cache"] == "HIT"
    assert reply.json() == [{"generated_text": job["result"]["text"]}]


MP3 = base64.b64encode(sound("MP3", 1.5, 44_100, 2)).decode()
MP4 = f"data:video/mp4;base64,{base64.b64encode(video()).decode()}"


@pytest.mark.parametrize(
    ("part", "wish", "seen"),
    [
        ({"type": "input_audio", "input_audio": {"data": MP3, "format": "mp3"}}, {}, "[1.5s]"),
        (
            {"type": "video_url", "video_url": {"url": MP4}},
            {"mm_processor_kwargs": {"num_frames": 3}},
            "[3x64x48]",
        ),
    ],
    ids=["sound", "video"],
)
def test_a_sound_and_a_video_are_decoded_beside_the_worker(
    api: Api, part: dict[str, object], wish: dict[str, object], seen: str
) -> None:
    turns = [{"role": "user", "content": [{"type": "text", "text": "What happens?"}, part]}]
    answer = api.post("/v1/chat/completions", json={"model": ECHO, "messages": turns, **wish}).json()
    assert answer["choices"][0]["message"]["content"] == f"What happens? {seen}"

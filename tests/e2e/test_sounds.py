"""A sound over real processes: from a caller's bytes to what the model hears."""

import base64
from typing import Any

from tests.e2e.conftest import ECHO, TINY
from tests.support.clients import Api
from tests.support.sounds import sound

DATA = base64.b64encode(sound("MP3", 1.5, 44_100, 2)).decode()
TURNS: list[Any] = [
    {
        "role": "user",
        "content": [
            {"type": "text", "text": "What is said?"},
            {"type": "input_audio", "input_audio": {"data": DATA, "format": "mp3"}},
        ],
    }
]


def test_a_sound_is_decoded_beside_the_worker_and_heard(api: Api) -> None:
    answer = api.post("/v1/chat/completions", json={"model": ECHO, "messages": TURNS}).json()
    assert answer["choices"][0]["message"]["content"] == "What is said? [1.5s]"
    assert answer["usage"]["prompt_tokens_details"]["audio_tokens"] == 1


def test_a_model_without_an_ear_says_so(api: Api) -> None:
    refused = api.post("/v1/chat/completions", json={"model": TINY, "messages": TURNS})
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "unsupported_parameter")

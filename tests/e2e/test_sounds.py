"""A sound over real processes: from a caller's bytes to what the model hears."""

import base64
from typing import Any

from playwright.sync_api import Page, expect

from tests.e2e.conftest import ECHO, TINY
from tests.support.browser import view
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


def test_the_page_names_what_is_asked_about_beside_pictures(page: Page, api: Api) -> None:
    api.ended(api.submit(model=ECHO, messages=TURNS))
    job = api.get("/v1/jobs?limit=1").json()["data"][0]["id"]
    view(page, f"jobs/{job}")
    expect(page.locator("#panel .chip")).to_have_text("Sound")


def test_a_model_without_an_ear_says_so(api: Api) -> None:
    refused = api.post("/v1/chat/completions", json={"model": TINY, "messages": TURNS})
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "unsupported_parameter")

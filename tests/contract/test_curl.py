"""curl and requests, as Hugging Face's pages have people type them."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.contract.conftest import ECHO, TINY
from tests.support.circle_questions import RED, circle
from tests.support.hf_clients import turn

JSON = ("-H", "content-type: application/json")
ASKED = '{"inputs": "one two"}'
ANSWERED = [{"generated_text": "one two"}]


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "circle.png"
    path.write_bytes(circle(RED))
    return path


def curl(*arguments: str) -> str:
    """What it prints; the test fails where curl does."""
    command = ("curl", "-sS", "--max-time", "30", *arguments)
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("headers", [(), JSON, (*JSON, "-H", "Authorization: Bearer: hf_any")])
def test_curl_asks_a_question(url: str, headers: tuple[str, ...]) -> None:
    """Without a header curl says that its data is a form."""
    assert json.loads(curl(f"{url}/models/{ECHO}", "-X", "POST", "-d", ASKED, *headers)) == ANSWERED


@pytest.mark.parametrize(
    "headers",
    [
        (),
        ("-H", "content-type: image/png"),
        ("-H", "content-type:"),
        ("-H", "content-type: application/octet-stream", "-H", "expect: 100-continue"),
        ("-H", "transfer-encoding: chunked", "-H", "accept: image/png"),
    ],
)
def test_curl_sends_a_picture_by_any_name(url: str, picture: Path, headers: tuple[str, ...]) -> None:
    [answer] = json.loads(curl(f"{url}/models/{TINY}", "--data-binary", f"@{picture}", *headers))
    assert "red" in answer["generated_text"].lower()


def test_requests_sends_json_bytes_and_pieces(url: str, picture: Path) -> None:
    headers = {"Authorization": "Bearer hf_any"}
    asked = requests.post(f"{url}/models/{ECHO}", headers=headers, json={"inputs": "one two"}, timeout=30)
    assert asked.json() == ANSWERED
    data = picture.read_bytes()
    for body in (data, iter([data[:100], data[100:]])):
        [answer] = requests.post(f"{url}/models/{TINY}", headers=headers, data=body, timeout=30).json()
        assert "red" in answer["generated_text"].lower()


def test_requests_reads_a_chat_as_the_page_s_snippet_does(url: str) -> None:
    def query(payload: dict[str, Any]) -> Iterator[Any]:
        response = requests.post(f"{url}/v1/chat/completions", json=payload, stream=True, timeout=30)
        for line in response.iter_lines():
            if not line.startswith(b"data:"):
                continue
            if line.strip() == b"data: [DONE]":
                return
            # Its own words, which strip letters where they mean a prefix.
            yield json.loads(line.decode("utf-8").lstrip("data:").rstrip("/n"))  # noqa: B005

    asked = {"model": f"{ECHO}:hf-inference", "messages": turn("one two three"), "stream": True}
    assert "".join(chunk["choices"][0]["delta"]["content"] for chunk in query(asked)) == "one two three"

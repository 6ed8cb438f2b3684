"""curl and requests, as Hugging Face's pages have people type them."""

import json
import subprocess
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.contract.conftest import ECHO, TINY
from tests.support.circle_questions import RED, circle
from tests.support.hf_clients import turn
from tests.support.keys import ADMIN

JSON = ("-H", "content-type: application/json")
ASKED = '{"inputs": "one two"}'
ANSWERED = [{"generated_text": "one two"}]
CHAT = json.dumps({"model": ECHO, "messages": turn("one two three"), "stream": True})


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "circle.png"
    path.write_bytes(circle(RED))
    return path


def curl(*arguments: str) -> str:
    """What it prints; the test fails where curl does."""
    command = ("curl", "-sS", "--max-time", "30", *arguments)
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("path", [f"/models/{ECHO}", f"/hf-inference/models/{ECHO}", f"/models/{ECHO}/v1"])
@pytest.mark.parametrize("headers", [(), JSON, (*JSON, "-H", "Authorization: Bearer: hf_any")])
def test_curl_asks_a_question(url: str, path: str, headers: tuple[str, ...]) -> None:
    """Without a header curl says that its data is a form."""
    assert json.loads(curl(url + path, "-X", "POST", "-d", ASKED, *headers)) == ANSWERED


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
def test_curl_sends_a_picture_s_bytes_whatever_it_calls_them(
    url: str, picture: Path, headers: tuple[str, ...]
) -> None:
    [answer] = json.loads(curl(f"{url}/models/{TINY}", "--data-binary", f"@{picture}", *headers))
    assert "red" in answer["generated_text"].lower()


def test_curl_asks_the_first_model_at_the_root(url: str, picture: Path) -> None:
    for path in ("/", "/v1"):
        [answer] = json.loads(curl(url + path, "--data-binary", f"@{picture}"))
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


def test_a_chat_s_stream_has_data_in_every_block_and_says_when_it_is_over(url: str) -> None:
    printed = curl("-N", f"{url}/v1/chat/completions", "-d", CHAT, *JSON)
    blocks = printed.split("\n\n")
    assert blocks[-2:] == ["data: [DONE]", ""]
    assert all(block.startswith("data: ") and "\n" not in block for block in blocks[:-1])


def test_a_raw_stream_is_numbered_tokens_and_at_last_the_whole_text(url: str) -> None:
    body = {"inputs": "one two three", "stream": True}
    lines = curl("-N", f"{url}/models/{ECHO}", "-d", json.dumps(body), *JSON).split("\n")
    pieces = [json.loads(line[6:]) for line in lines if line.startswith("data: ")]
    assert (
        "".join(piece["token"]["text"] for piece in pieces) == pieces[-1]["generated_text"] == "one two three"
    )
    assert all(second["index"] == first["index"] + 1 for first, second in pairwise(pieces))


@pytest.mark.parametrize("spelling", ["Bearer", "Bearer:", "bearer"])
def test_the_page_s_spelling_of_a_key_opens_every_route(keyed: str, spelling: str) -> None:
    key = ("-H", f"authorization: {spelling} {ADMIN}")
    assert json.loads(curl(f"{keyed}/models/{ECHO}", "-d", ASKED, *key)) == ANSWERED
    assert json.loads(curl(f"{keyed}/v1/models", *key))["data"][0]["id"] == TINY
    assert json.loads(curl(f"{keyed}/models/{ECHO}", "-d", ASKED))["error_type"] == "invalid_api_key"

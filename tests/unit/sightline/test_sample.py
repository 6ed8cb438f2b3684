"""What a fresh start prints: the answer, and commands that work when pasted."""

import base64
import json
import subprocess
from pathlib import Path

import httpx
import pytest

from shared.models import Model
from sightline.serving.sample import QUESTION, Sample, commands

MODEL = Model(id="org/m", engine="echo")


def test_pasted_curl_line_sends_the_picture_and_the_question(tmp_path: Path) -> None:
    folder = tmp_path / "a folder"
    folder.mkdir()
    (folder / "sample.png").write_bytes(b"bytes" * 100)
    curl, *_ = commands("http://127.0.0.1:8000", "org/m", str(folder))
    shown = "curl() { printf '%s\\0' \"$@\"; }; " + curl

    output = subprocess.run(["/bin/sh", "-c", shown], capture_output=True, text=True, check=True).stdout

    url, _, header, _, body = output.rstrip("\0").split("\0")
    assert url == "http://127.0.0.1:8000/models/org/m"
    assert header == "content-type: application/json"
    picture = base64.b64encode((folder / "sample.png").read_bytes()).decode()
    assert json.loads(body) == {"inputs": {"image": picture, "text": QUESTION}}


@pytest.mark.parametrize(
    ("reply", "shown"),
    [
        (httpx.Response(200, json=[{"generated_text": "A red circle."}]), "A red circle."),
        (httpx.Response(503, json={"error": "Model org/m is loading."}), "none: Model org/m is loading."),
        (httpx.Response(200, text="hello"), "none: JSONDecodeError"),
    ],
)
async def test_answer_or_the_reason_for_none_is_shown(reply: httpx.Response, shown: str) -> None:
    said: list[str] = []
    transport = httpx.MockTransport(lambda _: reply)
    async with httpx.AsyncClient(base_url="http://service", transport=transport) as client:
        await Sample(Path("models.toml"), MODEL).show(client, "http://127.0.0.1:8000", said.append)

    question, picture, answer = said[0].strip().splitlines()
    assert question.endswith(QUESTION)
    assert picture.endswith("examples/sample.png")
    assert answer.startswith(f"answer    {shown}")


async def test_a_models_file_elsewhere_is_tried_with_the_own_picture_or_told_why_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    transport = httpx.MockTransport(lambda _: httpx.Response(200, json=[{"generated_text": "Red."}]))
    async with httpx.AsyncClient(base_url="http://service", transport=transport) as client:
        await Sample(tmp_path / "models.toml", MODEL).show(client, "http://127.0.0.1:8000", said.append)
        assert "answer    Red." in said[0]
        monkeypatch.setattr("sightline.serving.sample.ROOT", tmp_path)
        await Sample(tmp_path / "models.toml", MODEL).show(client, "http://127.0.0.1:8000", said.append)
    assert said[-1].startswith("no question was asked")

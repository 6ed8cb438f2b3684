"""The examples run as they stand: what a newcomer copies works."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.e2e.conftest import TINY
from tests.support.clients import Api
from tests.support.service import ROOT, Service

SAMPLE = str(ROOT / "examples/sample.png")


def run(name: str, *arguments: str) -> str:
    """What an example prints."""
    env = os.environ | {"PYTHONWARNINGS": "ignore"}
    argv = [sys.executable, str(ROOT / f"examples/{name}.py"), *arguments]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120, env=env)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_each_picture_of_a_folder_is_answered_and_a_second_run_makes_no_job(api: Api, tmp_path: Path) -> None:
    for number in range(5):
        Image.new("RGB", (48, 48), (50 * number, 200, 30)).save(tmp_path / f"{number}.png")
    url, question = str(api.base_url), "What color is it?"
    before = _newest(api)
    first = run("fifty_pictures", url, str(tmp_path), question)
    newest = _newest(api)
    assert [line.split("\t")[0] for line in first.splitlines()] == [f"{n}.png" for n in range(5)]
    assert run("fifty_pictures", url, str(tmp_path), question) == first
    assert before != newest == _newest(api)


def _newest(api: Api) -> str | None:
    jobs = api.get("/v1/jobs", params={"limit": 1}).json()["data"]
    return jobs[0]["id"] if jobs else None


@pytest.mark.parametrize(
    ("name", "arguments", "printed"),
    [
        ("async_client", ["What is a queue?", "Who works?"], r"(.+\n){2}"),
        ("batch", ["What is a job?", "What is a queue?"], r"question-(0|1) .*\nquestion-(?!\1)[01] .*\n"),
        ("cancel", [], r"cancelled\nsucceeded\n"),
        ("openai_chat", [SAMPLE, "What color is the circle?"], r"Red\W*"),
        ("structured_output", [SAMPLE], r'\{"colour":"\w+","shape":"\w+"\}\n'),
        ("webhook_receiver", [], r"job\.succeeded (?s:.*)"),
    ],
)
def test_an_example_prints_what_it_promises(api: Api, name: str, arguments: list[str], printed: str) -> None:
    said = run(name, str(api.base_url), *arguments)
    assert re.fullmatch(printed, said), said


def test_a_caller_of_a_cold_model_is_told_when_to_come_again(api: Api, service: Service) -> None:
    service.start("test/late")
    try:
        printed = run("cold_model", str(api.base_url), "test/late", "Hello there")
    finally:
        service.processes["test/late"].kill()
    *waits, first, second = printed.splitlines()
    assert first == second == "Hello there"
    assert all(re.fullmatch(r"Model test/late .* asking again in \d+ s", line) for line in waits)


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.py")), ids=lambda path: path.stem)
def test_every_example_says_what_to_install_and_how_to_run_it(path: Path) -> None:
    head = path.read_text().split('"""')[1]
    assert "pip install " in head
    assert f"python examples/{path.name} http://127.0.0.1:8000" in head
    assert TINY not in head

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


def test_fifty_pictures_are_answered_each_and_a_second_run_makes_no_job(api: Api, tmp_path: Path) -> None:
    for number in range(50):
        Image.new("RGB", (48, 48), (5 * number, 200, 30)).save(tmp_path / f"{number:02}.png")
    url, question = str(api.base_url), "What color is it?"
    before = _newest(api)
    first = run("fifty_pictures", url, str(tmp_path), question)
    newest = _newest(api)
    assert [line.split("\t")[0] for line in first.splitlines()] == [f"{n:02}.png" for n in range(50)]
    assert run("fifty_pictures", url, str(tmp_path), question) == first
    assert before != newest == _newest(api)


def _newest(api: Api) -> str | None:
    jobs = api.get("/v1/jobs", params={"limit": 1}).json()["data"]
    return jobs[0]["id"] if jobs else None


def test_a_client_of_thirty_lines_asks_several_questions_at_once(api: Api) -> None:
    code = (ROOT / "examples/async_client.py").read_text().split('"""', 2)[2]
    assert len([line for line in code.splitlines() if line.strip()]) <= 30
    assert len(run("async_client", str(api.base_url), "What is a queue?", "Who works?").splitlines()) == 2


def test_a_signed_call_brings_the_end_of_a_job(api: Api) -> None:
    assert run("webhook_receiver", str(api.base_url)).startswith("job.succeeded ")


def test_a_caller_of_a_cold_model_is_told_when_to_come_again(api: Api, service: Service) -> None:
    service.start("test/late")
    try:
        printed = run("cold_model", str(api.base_url), "test/late", "Hello there")
    finally:
        service.processes["test/late"].kill()
    *waits, first, second = printed.splitlines()
    assert first == second == "Hello there"
    assert all(re.fullmatch(r"Model test/late .* asking again in \d+ s", line) for line in waits)


def test_what_nobody_wants_any_more_is_cancelled(api: Api) -> None:
    assert run("cancel", str(api.base_url)).split() == ["cancelled", "succeeded"]


def test_an_answer_is_one_that_a_program_can_read(api: Api) -> None:
    printed = run("structured_output", str(api.base_url), SAMPLE)
    assert re.fullmatch(r'\{"colour":"\w+","shape":"\w+"\}\n', printed)


def test_a_batch_brings_an_answer_for_each_line(api: Api) -> None:
    printed = run("batch", str(api.base_url), "What is a job?", "What is a queue?")
    assert sorted(line.split()[0] for line in printed.splitlines()) == ["question-0", "question-1"]


def test_openais_client_streams_an_answer_about_a_picture(api: Api) -> None:
    assert run("openai_chat", str(api.base_url), SAMPLE, "What color is the circle?").strip(". \n") == "Red"


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.py")), ids=lambda path: path.stem)
def test_every_example_says_what_to_install_and_how_to_run_it(path: Path) -> None:
    head = path.read_text().split('"""')[1]
    assert "pip install " in head
    assert f"python examples/{path.name} http://127.0.0.1:8000" in head
    assert TINY not in head

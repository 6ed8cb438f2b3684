"""What a map makes of the answers of a service that does not always answer well; no service."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from sightline.exits import CommandError
from sightline.mapping.caller import MISFITS
from sightline.mapping.output import Receipt
from sightline.mapping.question import Question
from sightline.mapping.run import TRIES, Progress, map_rows
from tests.support.service import ROOT

MISFIT = {"code": "invalid_request", "message": "There is no room.", "param": "parameters.max_new_tokens"}
Answer = Callable[[str], httpx.Response]


def ended(error: dict[str, Any] | None = None) -> httpx.Response:
    times = {"created_at": 1.0, "started_at": 1.0, "ended_at": 2.0}
    job = {"id": "job_1", **times, "status": "failed", "error": error}
    if error is None:
        job |= {"status": "succeeded", "result": {"text": "a circle"}}
    return httpx.Response(200, json=job)


def mapped(
    monkeypatch: pytest.MonkeyPatch,
    folder: Path,
    texts: Sequence[str],
    answer: Answer,
    show: Callable[[Progress], object] = lambda _: None,
    **options: Any,
) -> Receipt:
    """Of a service that answers each submit so, by its text."""

    def reply(request: httpx.Request) -> httpx.Response:
        if request.url.path != "/v1/jobs":
            return httpx.Response(404, json={})
        named = folder / request.headers["idempotency-key"]
        if named.exists() and named.read_bytes() != request.content:
            return httpx.Response(422, json={"code": "idempotency_mismatch"})
        named.write_bytes(request.content)
        return answer(json.loads(request.content)["input"]["prompt"])

    @asynccontextmanager
    async def connected(*_: object) -> AsyncIterator[list[httpx.AsyncClient]]:
        transport = httpx.MockTransport(reply)
        async with httpx.AsyncClient(base_url="http://service", transport=transport) as client:
            yield [client]

    monkeypatch.setattr("sightline.mapping.run.connected", connected)
    monkeypatch.setattr("sightline.mapping.caller.random.uniform", lambda *_: 0)
    (folder / "rows.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    rows, output = str(folder / "rows.jsonl"), folder / "out.jsonl"
    return asyncio.run(
        map_rows("{text}", rows, output, model="m", url="http://service", show=show, **options)
    )


def test_rows_wait_for_a_worker_that_loads_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    problem = {"code": "model_failed", "detail": "out of memory", "retryable": False}
    replies = [httpx.Response(500, json=problem) for _ in range(20)]
    receipt = mapped(monkeypatch, tmp_path, ["a"], lambda _: replies.pop() if replies else ended())
    assert (receipt.answered, receipt.failed) == (1, 0)


def test_where_no_row_fits_the_map_ends_early(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    prompts = list[str]()

    def answer(text: str) -> httpx.Response:
        prompts.append(text)
        return ended(MISFIT)

    with pytest.raises(CommandError, match="No row can be asked so: There is no room"):
        mapped(monkeypatch, tmp_path, [f"{n}" for n in range(400)], answer)
    assert MISFITS <= len(prompts) < 100
    assert mapped(monkeypatch, tmp_path, ["a"], lambda _: ended(), max_tokens=5).answered == 1


def test_rows_that_do_not_fit_fail_alone_and_however_many_where_the_map_has_answers(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    first = mapped(monkeypatch, tmp_path, ["long", "a"], lambda text: ended(None if text == "a" else MISFIT))
    assert (first.answered, first.failed) == (1, 1)
    texts = ["a", *(f"{n}" for n in range(2 * MISFITS))]
    assert mapped(monkeypatch, tmp_path, texts, lambda _: ended(MISFIT)).failed == 2 * MISFITS


def test_a_model_that_is_not_mended_for_long_ends_the_map_and_no_row(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    problem = {"code": "model_failed", "detail": "There are no such weights.", "retryable": False}
    monkeypatch.setattr("sightline.mapping.caller.PATIENCE_S", 0.05)
    with pytest.raises(CommandError, match="There are no such weights"):
        mapped(monkeypatch, tmp_path, ["a"], lambda _: httpx.Response(500, json=problem))
    monkeypatch.undo()
    # Another release may ask with a field more.
    body = Question.body
    monkeypatch.setattr(Question, "body", lambda *row: body(*row)[:-1] + b',"store":true}')
    assert mapped(monkeypatch, tmp_path, ["a"], lambda _: ended()).answered == 1


@pytest.mark.parametrize("code", ["fetch_failed", "model_removed"])
def test_a_row_that_failed_by_what_may_pass_is_asked_again_by_the_same_command(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, code: str
) -> None:
    prompts = list[str]()

    def answer(text: str) -> httpx.Response:
        prompts.append(text)
        passed = len(prompts) > TRIES
        return ended(None if passed else {"code": code, "message": "", "param": None, "retryable": False})

    assert mapped(monkeypatch, tmp_path, ["a"], answer).failed == 1
    assert mapped(monkeypatch, tmp_path, ["a"], answer).answered == 1
    assert len(prompts) == TRIES + 1


def test_a_progress_that_nobody_can_read_costs_no_answer(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def show(_: Progress) -> None:
        raise BrokenPipeError

    assert mapped(monkeypatch, tmp_path, ["a"], lambda _: ended(), show).answered == 1
    assert (tmp_path / "out.jsonl").exists()


def test_a_program_maps_without_the_rest_of_the_service() -> None:
    """Installed, the service's packages are not on a program's path."""
    look = "import sys, sightline.mapping.run; print({'shared', 'api', 'worker', 'torch'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", look], cwd=ROOT, capture_output=True, check=True)
    assert done.stdout.decode().strip() == "set()"

"""`sightline jobs` and `sightline models` against the service on a socket, over the real store."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from shared import ids
from shared.job import Delivery
from shared.request import Request
from shared.store import jobs as transitions
from shared.store import webhooks, workers
from sightline.cli import main
from sightline.exits import Exit
from tests.routes.conftest import Deployment
from tests.support.app import client_of
from tests.support.app_server import listening
from tests.support.clients import until_async
from tests.support.documents import pdf
from tests.support.existing import existing
from tests.support.patience import PATIENCE_S
from tests.support.service import ROOT
from tests.support.store import next_call
from worker.engines.prompt.budget import fitting, too_long

MODEL = "sightline/tiny"
SAMPLE = str(Path(__file__).parents[2] / "examples" / "sample.png")


@dataclass
class Terminal:
    """Where the commands are typed, and what they print."""

    deployment: Deployment
    url: str
    capsys: pytest.CaptureFixture[str]

    async def type(self, *argv: str) -> tuple[int, str, str]:
        """Exit code, output, errors."""
        code = await asyncio.to_thread(main, [*argv, "--url", self.url])
        printed = self.capsys.readouterr()
        return code, printed.out, printed.err

    async def submit(self, prompt: str = "What is this?", **body: Any) -> str:
        async with httpx.AsyncClient(base_url=self.url, timeout=PATIENCE_S) as client:
            reply = await client.post("/v1/jobs", json={"model": MODEL, "input": {"prompt": prompt}, **body})
        assert reply.status_code == 202, reply.text
        return str(reply.json()["id"])

    async def job(self, job: str) -> dict[str, Any]:
        async with httpx.AsyncClient(base_url=self.url, timeout=PATIENCE_S) as client:
            return dict((await client.get(f"/v1/jobs/{job}")).json())


@pytest.fixture
async def terminal(deployment: Deployment, capsys: pytest.CaptureFixture[str]) -> AsyncIterator[Terminal]:
    deployment.worker.beat()
    async with listening(deployment.app) as url:
        yield Terminal(deployment, url, capsys)


async def test_a_page_ends_with_how_to_ask_for_the_next(terminal: Terminal) -> None:
    older, newer = await terminal.submit("First?"), await terminal.submit("Second?")
    _, out, err = await terminal.type("jobs", "list", "--limit", "1")
    _, rest, none = await terminal.type("jobs", "list", "--after", err.split()[-1])

    assert (newer in out, older in out) == (True, False)
    assert err.startswith("sightline: there are more: --after ")
    assert err.endswith(f"-{newer}\n")
    assert (newer in rest, older in rest, none) == (False, True, "")


async def test_a_list_is_narrowed_by_what_was_kept_with_a_job_and_filled_over_short_pages(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transitions, "LOOK", 1)
    wanted = await terminal.submit("First?", metadata={"order": "7"}, priority="batch")
    await terminal.submit("Second?", metadata={"order": "8"})
    await terminal.type("jobs", "cancel", wanted)
    for found, narrowed in (
        ([wanted], ("--metadata", "order=7")),
        ([wanted], ("--status", "cancelled", "--model", MODEL)),
        ([wanted], ("--created-after", "2020-01-31T12:00:00Z", "--priority", "batch")),
        ([], ("--created-before", "2020-01-31T12:00:00Z")),
        ([], ("--model", "org/bare")),
    ):
        _, out, _ = await terminal.type("jobs", "list", *narrowed, "--json")
        assert [job["id"] for job in json.loads(out)["data"]] == found


@pytest.mark.usefixtures("quick_batches")
async def test_each_page_of_a_document_is_asked_by_itself_and_read_in_order(
    terminal: Terminal, tmp_path: Path
) -> None:
    file, worker = tmp_path / "a.pdf", terminal.deployment.worker
    file.write_bytes(pdf(["one", "two", "three"]))
    words = ("What?", str(file), "--pages", "2-", "--per-page")
    typed = asyncio.create_task(terminal.type("ask", *words))

    async def ended() -> bool:
        while not worker.idle():
            claim = worker.take()
            worker.succeed(claim, f"Of {len(Request.model_validate_json(claim.request).images)}.")
        return typed.done()

    await until_async(ended)
    code, out, err = await typed
    assert (code, out) == (Exit.OK, "Page 2\nOf 1.\n\nPage 3\nOf 1.\n"), err


@pytest.mark.usefixtures("quick_batches")
async def test_ctrl_c_cancels_all_pages_of_a_document(terminal: Terminal, tmp_path: Path) -> None:
    file, worker = tmp_path / "a.pdf", terminal.deployment.worker
    file.write_bytes(pdf(["one", "two", "three"]))
    words = ("ask", "What?", str(file), "--per-page", "--url", terminal.url)
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "sightline", *words, stdout=-1, stderr=-1, cwd=ROOT
    )

    async def follows() -> bool:
        return not worker.idle()

    await until_async(follows)
    worker.succeed(worker.take(), "Page one.")
    assert child.stdout is not None
    await child.stdout.readuntil(b"Page one.")
    child.send_signal(signal.SIGINT)
    await child.communicate()
    async with client_of(terminal.deployment.app) as client:
        (batch,) = (await client.get("/v1/batches")).json()["data"]
    assert (child.returncode, batch["cancelling_at"] is None) == (130, False)


async def test_a_document_that_does_not_fit_is_refused_with_what_to_type(
    terminal: Terminal, tmp_path: Path
) -> None:
    file, worker = tmp_path / "a.pdf", terminal.deployment.worker
    file.write_bytes(pdf(["one", "two", "three"]))
    typed = asyncio.create_task(terminal.type("ask", "What?", str(file)))

    async def taken() -> bool:
        return not worker.idle()

    await until_async(taken)
    error = too_long(100, f"it has 150.{fitting(3, 150, 100)}")
    worker.fail(worker.take(), error.code, error.message)
    code, _, err = await typed
    assert code == Exit.REFUSED
    assert "About 2 of its 3 pictures" in err
    assert "--pages 1-3 asks about some pages, --per-page" in err


async def test_a_job_is_shown_with_its_attempts_and_its_answer(terminal: Terminal) -> None:
    worker = terminal.deployment.worker
    job = await terminal.submit(metadata={"album": "7"})
    worker.give_back(worker.take(), "worker_draining")
    worker.succeed(worker.take(), "A cat.")
    code, out, _ = await terminal.type("jobs", "show", job)
    _, raw, _ = await terminal.type("jobs", "show", job, "--json")

    assert code == Exit.OK
    for words in (job, "succeeded", "album=7", "worker_draining", f"2 by {worker.name}", "\n\nA cat.\n"):
        assert words in out
    assert json.loads(raw) == await terminal.job(job)


async def test_a_job_is_cancelled_and_asked_again(terminal: Terminal) -> None:
    job = await terminal.submit()
    cancelled = await terminal.type("jobs", "cancel", job)
    code, out, _ = await terminal.type("jobs", "retry", job, "--json")
    again = json.loads(out)
    refused, _, why = await terminal.type("jobs", "retry", again["id"])

    assert cancelled[0] == Exit.OK
    assert cancelled[1].startswith(f"{job} cancelled (after ")
    assert (code, again["retry_of"], again["status"]) == (Exit.OK, job, "queued")
    assert refused == Exit.REFUSED
    assert why == "sightline: The service refused (409): The job has not ended yet.\n"


@pytest.mark.parametrize(
    ("end", "why"),
    [("fail", "The job failed: invalid_image: It is broken."), ("cancel", "The job was cancelled.")],
)
async def test_a_script_sees_that_a_job_did_not_succeed(terminal: Terminal, end: str, why: str) -> None:
    worker = terminal.deployment.worker
    job = await terminal.submit()
    if end == "fail":
        worker.fail(worker.take(), "invalid_image", "It is broken.")
    else:
        await terminal.type("jobs", "cancel", job)
    code, _, err = await terminal.type("jobs", "follow", job)
    same, out, _ = await terminal.type("jobs", "follow", job, "--json")
    events = [json.loads(line) for line in out.splitlines()]

    assert (code, err.splitlines()[-1]) == (Exit.JOB, f"sightline: {why}")
    assert same == Exit.JOB
    assert [event["id"] for event in events] == list(range(1, len(events) + 1))
    assert events[-1]["data"]["job"] == await terminal.job(job)


async def test_a_model_is_paused_and_resumed(terminal: Terminal) -> None:
    paused = await terminal.type("models", "pause", MODEL)
    job = await terminal.submit()
    waits = (await terminal.job(job))["waiting_reason"]
    code, out, _ = await terminal.type("models", "resume", MODEL, "--json")

    assert paused[:2] == (Exit.OK, f"{MODEL} is paused; waiting: 0\n")
    assert waits == "paused"
    assert (code, json.loads(out)["paused"], json.loads(out)["queued"]) == (Exit.OK, False, 1)
    terminal.deployment.worker.take()


async def waiting(terminal: Terminal, command: str, tmp_path: Path) -> tuple[str, ...]:
    """The words of a command that waits for an answer."""
    file, output = tmp_path / "a.pdf", tmp_path / f"{ids.job_id()}.jsonl"
    file.write_bytes(pdf(["one"]))
    match command:
        case "ask":
            return ("ask", "What?")
        case "ask --json":
            return ("ask", "What?", "--json")
        case "ask --per-page":
            return ("ask", "What?", str(file), "--per-page")
        case "map":
            return ("map", "What?", "--input", str(file), "--output", str(output))
    return ("jobs", "follow", await terminal.submit(), *command.split()[2:])


@pytest.mark.usefixtures("quick_batches")
@pytest.mark.parametrize("state", ["ready", "gone"])
@pytest.mark.parametrize(
    "command", ["ask", "ask --json", "ask --per-page", "map", "jobs follow", "jobs follow --json"]
)
async def test_a_paused_model_is_an_error_at_once_or_waited_for_aloud(
    terminal: Terminal, command: str, state: workers.State, tmp_path: Path
) -> None:
    worker, name = terminal.deployment.worker, ("--model", MODEL) if "jobs" not in command else ()
    worker.beat(state)
    await terminal.type("models", "pause", MODEL)
    words = await waiting(terminal, command, tmp_path)
    code, out, err = await terminal.type(*words, *name)
    assert (code, out) == (Exit.REFUSED, "")
    assert f"The model {MODEL} is paused; `sightline models resume {MODEL}` resumes it. With --wait" in err

    typed, shown = asyncio.create_task(terminal.type(*words, *name, "--wait")), ""

    async def said() -> bool:
        nonlocal shown
        shown += terminal.capsys.readouterr().err
        return "paused" in shown or typed.done()

    await until_async(said)
    assert not typed.done()
    worker.beat()
    async with httpx.AsyncClient(base_url=terminal.url, timeout=PATIENCE_S) as client:
        await client.post(f"/v1/admin/models/{MODEL}/resume")

    async def ended() -> bool:
        if not worker.idle():
            worker.succeed(worker.take(), "Yes.")
        return typed.done()

    await until_async(ended)
    code, out, err = await typed
    assert code == Exit.OK, err


async def test_a_pipe_is_told_why_it_waits_and_again_when_that_changes(terminal: Terminal) -> None:
    worker = terminal.deployment.worker
    worker.beat("gone")
    worker.beat("loading")
    typed, shown = asyncio.create_task(terminal.type("ask", "What?", "--model", MODEL)), ""

    async def said(news: str) -> bool:
        nonlocal shown
        shown += terminal.capsys.readouterr().err
        return news in shown

    await until_async(partial(said, f"sightline: Model {MODEL} is starting, about "))
    await until_async(partial(said, "sightline: queued: model loading, 0 ahead, starts in about "))
    worker.beat()
    worker.succeed(worker.take(), "Yes.")
    assert (await typed)[0] == Exit.OK


async def test_a_reader_who_leaves_early_sees_no_traceback(terminal: Terminal) -> None:
    read, write = os.pipe()
    os.close(read)
    argv = (sys.executable, "-m", "sightline", "jobs", "list", "--url", terminal.url)
    process = await asyncio.create_subprocess_exec(*argv, stdout=write, stderr=asyncio.subprocess.PIPE)
    os.close(write)
    _, err = await process.communicate()

    assert (process.returncode, err) == (141, b"")


@pytest.mark.parametrize(
    "argv",
    [
        ("jobs", "show", "job_" + "0" * 32),
        ("jobs", "cancel", "../../health"),
        ("jobs", "follow", "a b/c?d=e#f"),
        ("jobs", "list", "--after", "job_0"),
        ("models", "pause", "nobody/none"),
        ("models", "resume", "no?body/none"),
    ],
)
async def test_what_is_missing_is_one_sentence_and_a_code(terminal: Terminal, argv: tuple[str, ...]) -> None:
    code, out, err = await terminal.type(*argv)

    assert (code, out) == (Exit.REFUSED, "")
    assert err.startswith("sightline: The service refused (404): ")
    assert err.count("\n") == 1


async def test_a_row_is_added_though_another_one_is_wrong(terminal: Terminal, tmp_path: Path) -> None:
    file = tmp_path / "models.toml"
    file.write_text('[[models]]\nid = "org/wrong"\ndtyp = 1\n[[models]]\nid = "org/new"\nengine = "echo"\n')
    code, out, _ = await terminal.type("models", "add", str(file), "--model", "org/new")
    assert (code, out.split()[0]) == (Exit.OK, "org/new")
    for argv, words in (
        (["--model", "org/wrong"], "row 1, "),
        ([], "row 1, "),
        (["--model", "org/none"], "no model with the id org/none"),
    ):
        code, out, err = await terminal.type("models", "add", str(file), *argv)
        assert (code, out, words in err) == (Exit.USAGE, "", True)


def test_a_service_out_of_reach_is_one_sentence_and_another_code(capsys: Any) -> None:
    for argv in (["jobs", "list"], ["jobs", "follow", "job_1"], ["models", "pause", MODEL]):
        assert main([*argv, "--url", "http://127.0.0.1:9"]) == Exit.UNREACHABLE
        assert "is it running?" in capsys.readouterr().err


async def test_deliveries_are_made_again_from_the_terminal(terminal: Terminal) -> None:
    worker, hook = (
        terminal.deployment.worker,
        {"url": "https://example.com/", "secret": "sixteen bytes is it"},
    )
    job = await terminal.submit(webhook=hook)
    worker.succeed(worker.take(), "A cat.")
    run, settings = worker.store.run, worker.settings
    call = existing(next_call(run, settings, ids.token()))
    run(webhooks.report(settings, call, Delivery(call.notice.type, 0, 1, 500, "no"), 3600))
    code, out, _ = await terminal.type("jobs", "redeliver", "--since", "2020-01-31T12:00:00Z")
    assert (code, out) == (Exit.OK, "deliveries that are made again: 1\n")
    again = existing(next_call(run, settings, ids.token()))
    run(webhooks.report(settings, again, Delivery(call.notice.type, 0, 1, 204)))
    assert (await terminal.type("jobs", "redeliver", job))[0] == Exit.OK
    assert existing(next_call(run, settings, ids.token())).notice.subject == job
    assert (await terminal.type("jobs", "redeliver"))[0] == Exit.USAGE

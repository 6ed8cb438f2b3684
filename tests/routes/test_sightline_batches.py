"""`sightline batches` against the service on a socket, over the real store."""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from sightline import batches
from sightline.exits import CommandError, Exit
from tests.routes.conftest import Deployment
from tests.routes.test_sightline_jobs import Terminal
from tests.support.app_server import listening
from tests.support.batches import answers, jsonl, line, rows, serving

pytestmark = pytest.mark.usefixtures("quick_batches")


@pytest.fixture
async def terminal(
    deployment: Deployment, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Terminal]:
    monkeypatch.setattr(batches, "PAUSE_S", 0.02)
    deployment.worker.beat()
    async with listening(deployment.app) as url:
        yield Terminal(deployment, url, capsys)


def file_of(folder: Path, *lines: dict[str, Any] | str) -> str:
    path = folder / "questions.jsonl"
    path.write_bytes(jsonl(lines))
    return str(path)


def parts(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.part"))


async def test_a_file_goes_up_and_its_answers_come_down(terminal: Terminal, tmp_path: Path) -> None:
    file = file_of(tmp_path, line("a", "one"), line("b", "two"), line("c", "fail"))
    answered, failed = tmp_path / "answers.jsonl", tmp_path / "failed.jsonl"
    async with serving(terminal.deployment.worker):
        code, out, err = await terminal.type("batches", "create", file, "--metadata", "night=12", "--wait")
    batch = out.strip()
    _, card, _ = await terminal.type("batches", "show", batch)
    await terminal.type("batches", "output", batch, "--to", str(answered))
    _, printed, _ = await terminal.type("batches", "output", batch)
    _, all_rows, _ = await terminal.type("batches", "results", batch)
    await terminal.type("batches", "errors", batch, "--to", str(failed))

    assert (code, out.count("\n")) == (Exit.OK, 1)
    assert "uploaded 100 %" in err
    assert err.splitlines()[-1] == "sightline: completed: 2 of 3 done, 1 failed"
    assert {"night=12", "completed (2 of 3 done, 1 failed)"} <= {
        text.split(maxsplit=1)[-1] for text in card.splitlines()
    }
    assert answers(rows(answered.read_bytes())) == {"a": "ONE", "b": "TWO"}
    assert printed.encode() == answered.read_bytes()
    assert [row["custom_id"] for row in rows(failed.read_bytes())] == ["c"]
    assert {row["custom_id"] for row in rows(all_rows.encode())} == {"a", "b", "c"}
    assert [text.split()[1:3] for text in card.splitlines() if text.startswith("failure")] == [
        ["1", "invalid_image:"]
    ]
    assert parts(tmp_path) == []


async def test_batches_are_listed_newest_first(terminal: Terminal, tmp_path: Path) -> None:
    file = file_of(tmp_path, line("a", "one"))
    older, newer = [
        json.loads((await terminal.type("batches", "create", file, "--json"))[1])["id"] for _ in range(2)
    ]
    _, listed, more = await terminal.type("batches", "list", "--limit", "1")
    _, rest, none = await terminal.type("batches", "list", "--after", newer, "--json")

    assert (newer in listed, older in listed) == (True, False)
    assert more == f"sightline: there are more: --after {newer}\n"
    assert ([row["id"] for row in json.loads(rest)["data"]], none) == ([older], "")


async def test_a_cancelled_batch_is_no_success_for_who_waits(terminal: Terminal, tmp_path: Path) -> None:
    file = file_of(tmp_path, line("a", "one"))
    batch = (await terminal.type("batches", "create", file))[1].strip()
    early = await terminal.type("batches", "output", batch)
    await terminal.type("batches", "cancel", batch)
    code, out, err = await terminal.type("batches", "wait", batch)
    none = await terminal.type("batches", "output", batch)

    assert early[0] == Exit.REFUSED
    assert early[2].endswith("its files are made at its end.\n")
    assert (code, out) == (Exit.JOB, "")
    assert err.splitlines()[-1] == "sightline: The batch is cancelled."
    assert none == (Exit.OK, "", "sightline: no line succeeded\n")


async def test_a_file_without_a_good_line_is_said_to_be_so(terminal: Terminal, tmp_path: Path) -> None:
    code, out, err = await terminal.type("batches", "create", file_of(tmp_path, "no json"), "--wait")
    fetched = [await terminal.type("batches", kind, out.strip()) for kind in ("errors", "output")]

    assert code == Exit.JOB
    assert "The batch is failed. invalid_json_line: Line 1" in err
    assert [(code, out) for code, out, _ in fetched] == [(Exit.JOB, "")] * 2
    assert all("The batch is failed. invalid_json_line: Line 1" in err for *_, err in fetched)


async def test_who_waits_sits_out_a_service_that_is_away(
    terminal: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = (await terminal.type("batches", "create", file_of(tmp_path, line("a", "one"))))[1].strip()
    shown, calls = batches.state, iter((False, True, True))

    def unsteady(client: httpx.Client, id: str) -> batches.Batch:
        if next(calls, False):
            raise CommandError(Exit.UNREACHABLE, "away")
        return shown(client, id)

    monkeypatch.setattr(batches, "state", unsteady)
    async with serving(terminal.deployment.worker):
        code, _, _ = await terminal.type("batches", "wait", batch)

    assert code == Exit.OK


@pytest.mark.parametrize("status", [429, 503])
def test_who_waits_sits_out_what_passes(status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "PAUSE_S", 0)
    going = {"status": "in_progress", "request_counts": {}}
    told = [(200, going), (status, {"detail": "later"}), (200, going | {"status": "completed"})]
    replies = iter([httpx.Response(code, json=body) for code, body in told])
    answering = httpx.MockTransport(lambda _: next(replies))
    with httpx.Client(base_url="http://service", transport=answering) as client:
        ended = batches.wait(client, "batch_1", lambda _: None)

    assert ended["status"] == "completed"


async def test_what_cannot_be_read_or_found_is_one_sentence(terminal: Terminal, tmp_path: Path) -> None:
    missing = await terminal.type("batches", "create", str(tmp_path / "none.jsonl"))
    nobody = await terminal.type("batches", "show", "batch_0")

    assert (missing[0], missing[2].count("\n")) == (Exit.USAGE, 1)
    assert "cannot be read: No such file or directory." in missing[2]
    assert nobody[::2] == (Exit.REFUSED, "sightline: The service refused (404): There is no such batch.\n")


async def test_questions_of_another_program_go_up_through_a_pipe(terminal: Terminal, tmp_path: Path) -> None:
    pipe, questions = tmp_path / "pipe", jsonl([line("a", "one"), line("b", "two")])
    os.mkfifo(pipe)
    writing = asyncio.create_task(asyncio.to_thread(pipe.write_bytes, questions))
    made = await terminal.type("batches", "create", str(pipe))
    await writing

    assert made[0] == Exit.OK, made[2]
    async with httpx.AsyncClient(base_url=terminal.url) as client:
        batch = (await client.get(f"/v1/batches/{made[1].strip()}")).json()
        kept = await client.get(f"/v1/files/{batch['input_file_id']}/content")
    assert kept.content == questions


async def test_a_file_whose_name_is_not_utf_8_goes_up(terminal: Terminal, tmp_path: Path) -> None:
    file = str(tmp_path / "caf\udce9.jsonl")
    os.rename(file_of(tmp_path, line("a", "one")), file)  # noqa: PTH104
    made = await terminal.type("batches", "create", file)
    assert made[0] == Exit.OK, made[2]


async def test_output_goes_into_what_is_named_and_nowhere_else(terminal: Terminal, tmp_path: Path) -> None:
    async with serving(terminal.deployment.worker):
        made = await terminal.type("batches", "create", file_of(tmp_path, line("a", "one")), "--wait")
    pipe, target, link, other = (tmp_path / name for name in ("pipe", "target", "link", "link.part"))
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    target.write_text("old")
    link.symlink_to(target)
    other.write_text("mine")
    codes = [
        (await terminal.type("batches", "output", made[1].strip(), "--to", str(path)))[0]
        for path in (pipe, link)
    ]
    piped = os.read(reader, 65536)
    os.close(reader)

    assert codes == [Exit.OK, Exit.OK]
    assert answers(rows(piped)) == answers(rows(target.read_bytes())) == {"a": "ONE"}
    assert (pipe.is_fifo(), link.is_symlink(), other.read_text()) == (True, True, "mine")
    assert parts(tmp_path) == [other]

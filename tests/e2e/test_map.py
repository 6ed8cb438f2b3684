"""`sightline map` against real processes that are killed: each row is answered once, as its receipt says."""

import asyncio
import csv
import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sightline.exits import CommandError
from sightline.mapping.run import Progress, map_rows, map_rows_sync
from tests.e2e.conftest import ECHO, SLOW
from tests.support.clients import Api, until
from tests.support.documents import pdf
from tests.support.pictures import picture
from tests.support.service import ROOT, Service

QUESTION = "look at"


def photos(folder: Path, count: int) -> Path:
    """Pictures that all differ, some in folders below; two files are none."""
    for number in range(count):
        path = folder / f"{number % 3}" / f"{number:04}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(size=(8 + number // 40, 8 + number % 40)))
    return folder


def argv(service: Service, input: Path, output: Path, *more: str) -> list[str]:
    place = ["--input", str(input), "--output", str(output), "--url", service.url()]
    return [sys.executable, "-m", "sightline", "map", QUESTION, *place, "--model", SLOW, *more]


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def ended(output: Path) -> int:
    """Rows in the journal, without its heading."""
    journal = output.with_name(f"{output.name}.journal")
    return journal.read_bytes().count(b"\n") - 1 if journal.exists() else 0


def jobs(api: Api, model: str) -> set[str]:
    """The newest 100: jobs of tests before may expire meanwhile, so a number would not tell."""
    page = api.get("/v1/jobs", params={"model": model, "priority": "batch", "limit": 100}).json()
    return {job["id"] for job in page["data"]}


@pytest.fixture
def input(tmp_path: Path) -> Path:
    return photos(tmp_path / "photos", 40)


def test_no_row_is_lost_or_asked_twice_though_client_api_and_worker_are_killed(
    service: Service, api: Api, input: Path, tmp_path: Path
) -> None:
    output = tmp_path / "answers.jsonl"
    before = jobs(api, SLOW)
    for at, victim in ((5, None), (15, "api"), (25, SLOW)):
        with subprocess.Popen(argv(service, input, output), cwd=ROOT, env=os.environ) as client:
            until(lambda at=at: ended(output) >= at)  # type: ignore[misc]
            if victim:
                service.kill(victim)
                service.ready(victim)
                until(lambda at=at: ended(output) >= at + 5)  # type: ignore[misc]
            client.send_signal(signal.SIGKILL)
    done = subprocess.run(argv(service, input, output, "--json"), cwd=ROOT, capture_output=True, check=True)

    receipt = json.loads(done.stdout)
    assert (receipt["rows"], receipt["answered"], receipt["failed"]) == (40, 40, 0)
    assert receipt == json.loads((tmp_path / "answers.jsonl.receipt.json").read_text())
    assert receipt["output"] == hashlib.sha256(output.read_bytes()).hexdigest()
    rows = lines(output)
    assert [row["file"] for row in rows] == sorted(str(p.relative_to(input)) for p in input.rglob("*.png"))
    assert all(row["answer"].startswith(QUESTION) and row["error"] is None for row in rows)
    assert len({row["job"] for row in rows}) == 40
    assert len(jobs(api, SLOW) - before) == 40


def test_a_second_start_asks_only_what_is_new(service: Service, api: Api, tmp_path: Path) -> None:
    input, output = photos(tmp_path / "photos", 4), tmp_path / "answers.jsonl"
    options: dict[str, Any] = {"model": ECHO, "url": service.url()}
    first = map_rows_sync(QUESTION, str(input), output, **options)
    before, answers = jobs(api, ECHO), output.read_bytes()
    assert map_rows_sync(QUESTION, str(input), output, **options) == first
    assert (jobs(api, ECHO) - before, output.read_bytes()) == (set(), answers)

    (input / "9.png").write_bytes(picture(size=(50, 51)))
    second = map_rows_sync(QUESTION, str(input), output, **options)
    assert (second.rows, second.answered) == (5, 5)
    assert second.input != first.input
    assert len(jobs(api, ECHO) - before) == 1
    found = api.get("/v1/jobs", params={"metadata": "row=9.png"}).json()["data"]
    assert {job["id"] for job in found} == jobs(api, ECHO) - before
    # The service knows four of these rows as those of a smaller map.
    other = map_rows_sync(QUESTION, str(input), tmp_path / "other.jsonl", **options)
    assert (other.answered, other.failed) == (5, 0)
    with pytest.raises(CommandError, match="another question"):
        map_rows_sync("something else", str(input), output, **options)


def test_a_folder_of_all_kinds_becomes_a_spreadsheet_and_says_what_it_left_out(
    service: Service, tmp_path: Path
) -> None:
    input, output = photos(tmp_path / "photos", 2), tmp_path / "answers.csv"
    (input / "scan.pdf").write_bytes(pdf(["one", "two"]))
    (input / "notes.txt").write_text("none")
    (input / "bad.png").write_bytes(b"no picture")
    command = [*argv(service, input, output), "--model", ECHO]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True)
    with output.open(newline="") as file:
        rows = list(csv.DictReader(file))
    pages = [(row["file"], row["page"]) for row in rows if not row["error"]]
    assert pages == [("0/0000.png", ""), ("1/0001.png", ""), ("scan.pdf", "1"), ("scan.pdf", "2")]
    assert all(row["answer"].startswith(QUESTION) for row in rows if not row["error"])
    assert "1 (no picture, document, sound or video): 1 .txt" in done.stdout
    assert "1 invalid_image: Its file is no picture, document, sound or video. (bad.png)" in done.stdout
    assert str(output) in done.stdout
    for name in ("scan.pdf", "0/0000.png"):
        asked = [sys.executable, "-m", "sightline", "ask", "What?", str(input / name), "--url", service.url()]
        assert subprocess.run(
            [*asked, "--model", ECHO], cwd=ROOT, capture_output=True, check=True
        ).stdout.startswith(b"What?")


async def test_two_maps_do_not_write_one_output(service: Service, input: Path, tmp_path: Path) -> None:
    output = tmp_path / "answers.jsonl"
    under_way = asyncio.Event()

    def show(progress: Progress) -> None:
        if progress.done:
            under_way.set()

    # Not what another test has asked: cached answers would end the first map at once.
    question = f"{QUESTION} As two maps ask it."
    call = map_rows(question, str(input), output, model=SLOW, url=service.url(), show=show)
    first = asyncio.create_task(call)
    await under_way.wait()
    with pytest.raises(CommandError, match="Another map"):
        await map_rows(question, str(input), output, model=SLOW, url=service.url())
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first


def test_a_dry_run_says_rows_tokens_time_and_what_fails_and_asks_nothing(
    service: Service, api: Api, tmp_path: Path
) -> None:
    input = photos(tmp_path / "photos", 3)
    (input / "0" / "bad.png").write_bytes(b"no picture")
    (input / "0" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    before = jobs(api, SLOW)
    output = tmp_path / "answers.jsonl"
    command = argv(service, input, output, "--dry-run", "--json")
    facts = json.loads(subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout)
    assert facts["rows"] == 5
    bad, gone = facts["failures"]
    assert bad.startswith("0/bad.png: Its file is no picture")
    assert gone == "0/gone.png: No such file or directory"
    assert facts["tokens_in"] > 0
    half, most = facts["time_s"]
    assert 0 < half <= most
    assert jobs(api, SLOW) <= before
    assert not output.exists()
    assert ended(output) == 0

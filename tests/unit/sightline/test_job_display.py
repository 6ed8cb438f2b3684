"""Jobs in a terminal: aligned, complete, and never more than text."""

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from api.dialects.native import jobs
from shared.job import Attempt, Estimate, JobView, WaitingReason
from sightline import jobs as commands
from sightline.jobs import detail, show_card, show_page
from sightline.terminal import plain, span
from tests.support.views import QUEUED, failed, succeeded

NOW = 1_700_000_060.0


@pytest.fixture(autouse=True)
def _now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "time", SimpleNamespace(time=lambda: NOW))
    monkeypatch.setenv("COLUMNS", "80")


Lines = Callable[..., list[str]]


@pytest.fixture
def lines(capsys: pytest.CaptureFixture[str]) -> Lines:
    """What a script reads of what is shown."""

    def shown(show: Callable[[Any], None], value: Any) -> list[str]:
        show(value)
        return capsys.readouterr().out.splitlines()

    return shown


def to_job(view: JobView) -> dict[str, Any]:
    """The job as the command line reads it."""
    return {**jobs.to_job(view)}


def test_a_page_of_jobs_is_aligned_and_says_why_each_waits_or_how_it_ended(lines: Lines) -> None:
    rows = [to_job(view) for view in (QUEUED, succeeded(), failed(), succeeded(cache="HIT"))]
    rows[1]["model"] = "a/much-longer-name"
    rows[2]["metadata"] = {"map": "0f/3", "row": "scan.pdf page 2"}
    rows[2]["question"] = {"text": "Which of " * 9, "pictures": 1}
    del rows[3]["question"]

    shown = lines(show_page, {"data": rows, "next": None})
    assert {line[:38] for line in shown} == {f"{'ID':38}", f"{QUEUED.id}  "}
    assert [line[38:] for line in shown] == [
        "STATUS     MODEL               AGE  DETAIL                         QUESTION",
        "queued     org/model           59s  busy, 3 ahead, starts in 1.5s  Which?",
        "succeeded  a/much-longer-name  59s  after 0.6s                     Which?",
        "failed     org/model           59s  invalid_image                  scan.pdf page 2 Whi…",
        "succeeded  org/model           59s  from the cache",
    ]


def test_a_job_is_told_whole(lines: Lines) -> None:
    attempts = (
        Attempt(1, "worker_01", 1_700_000_001_000, 1_700_000_003_500, "worker_lost"),
        Attempt(2, "worker_02", 1_700_000_004_000),
    )
    view = replace(
        QUEUED,
        status="running",
        started_ms=1_700_000_001_000,
        attempts=attempts,
        cache="MISS",
        finish_by_ms=1_700_000_100_000,
        retry_of="job_2",
        estimate=Estimate(1.5, 4.0, 0.5, "measured"),
    )

    assert lines(show_card, to_job(view)) == [
        f"id        {QUEUED.id}",
        "status    running (busy, 3 ahead, starts in 1.5s)",
        "model     org/model",
        "priority  normal",
        "cache     MISS",
        "retry of  job_2",
        "metadata  shop=7",
        "created   2023-11-14 22:13:20Z, 59s ago",
        "started   2023-11-14 22:13:21Z",
        "finish by 2023-11-14 22:15:00Z",
        "estimate  starts in 1.5s, nine times in ten in 4.0s, then takes 0.5s (measured)",
        "attempt   1 by worker_01 from 2023-11-14 22:13:21Z, 2.5s: worker_lost",
        "attempt   2 by worker_02 from 2023-11-14 22:13:24Z: goes on",
    ]


def test_an_ended_job_is_told_with_its_answer_or_its_error(lines: Lines) -> None:
    assert lines(show_card, to_job(succeeded()))[-2:] == ["", "A red square."]
    assert lines(show_card, to_job(failed()))[-1] == (
        "error     invalid_image: The picture is broken; send another. (messages[0].content[0])"
    )


@pytest.mark.parametrize("reason", ["paused", "retrying"])
def test_who_waits_for_no_line_is_promised_nothing(reason: WaitingReason) -> None:
    view = replace(QUEUED, waiting_reason=reason, estimate=None)
    assert detail(to_job(view)) == reason


def test_an_answer_cannot_write_on_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    view = succeeded("\x1b[2Jred\r\x07 \u202egreen\x9b1m\nline\ttab")
    show_card(to_job(view))

    printed = capsys.readouterr().out.split("\n\n")[-1]
    assert printed == "\ufffd[2Jred\ufffd\ufffd \ufffdgreen\ufffd1m\nline\ttab\n"
    assert plain("größe 猫 🐈") == "größe 猫 🐈"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-1, "0.0s"), (0.04, "0.0s"), (9.94, "9.9s"), (59.9, "59s"), (60, "1m"), (7199, "1h"), (200_000, "2d")],
)
def test_a_span_is_short(seconds: float, text: str) -> None:
    assert span(seconds) == text

"""A job's receipt, as our own wire tells it."""

from dataclasses import replace

from api.dialects.native.jobs import to_job
from shared.job import Computed
from shared.result import Origin
from tests.support.views import answered, failed, succeeded

RUN = Computed("run_1", "job_1", 1_000, 2_000, 2_500, 3_000, 2)
ORIGIN = Origin(made_of={"engine": "echo", "files": "abc"}, parameters={"seed": 7, "max_new_tokens": 5})


def test_a_receipt_tells_what_made_the_answer_when_and_for_how_much() -> None:
    job = to_job(replace(answered(origin=ORIGIN), computed=RUN, request_hash="h"))
    timings = {"queued_at": 1.0, "started_at": 2.0, "first_token_at": 2.5, "ended_at": 3.0, "compute_s": 0.5}
    counts = {"prompt_tokens": 70, "completion_tokens": 5, "image_tokens": 64, "cached_tokens": 66}
    assert job["receipt"] == {
        "request_hash": "h",
        "fingerprint": "0123456789abcdef0123456789abcdef",
        "model": {"id": "org/model", "engine": "echo", "files": "abc"},
        "parameters": {"seed": 7, "max_new_tokens": 5},
        "cache": "MISS",
        "run": {"id": "run_1", "job": "job_1"},
        "attempts": 2,
        "timings": timings,
        "usage": counts | {"total_tokens": 75},
    }


def test_an_answer_that_an_older_worker_gave_has_a_receipt_too_and_a_failure_none() -> None:
    receipt = to_job(succeeded(computed=Computed("run_1")))["receipt"]

    assert (receipt["model"], receipt["parameters"]) == ({"id": "org/model"}, {})
    assert receipt["timings"]["first_token_at"] is None
    assert "receipt" not in to_job(failed())

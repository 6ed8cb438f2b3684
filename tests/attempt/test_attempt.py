"""Every way an attempt can go ends in one record that its caller understands."""

import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL.Image import Image as Picture

from shared.blobs import Blobs, BlobsUnavailable, digest
from shared.cache_key import EVERYBODY
from shared.errors import Unavailable
from shared.job import AttemptError
from shared.request import Image, Request
from shared.store.admission import JobTerms, submit
from shared.store.script import Store
from tests.support.attempt_harness import (
    CALLER,
    FAIL,
    MODEL,
    STALL,
    LossyStore,
    WorkerHarness,
    worker_harness,
)
from tests.support.clients import until
from tests.support.metrics import counted
from tests.support.patience import PATIENCE_S
from tests.support.pictures import RGB, picture, png
from tests.support.redis_server import RedisServer
from worker.attempt import attempt
from worker.engines.base import DeviceBroken, Finish, Prompt, Row
from worker.engines.echo import EchoEngine
from worker.publisher import Publisher


class Hiccup(EchoEngine):
    def generate(self, row: Row) -> Finish:  # noqa: ARG002
        raise RuntimeError("out of memory, say")


class Slow(EchoEngine):
    """Answers once it is allowed to end."""

    def __init__(self) -> None:
        super().__init__(MODEL)
        self.asked, self.may_end = threading.Event(), threading.Event()

    def generate(self, row: Row) -> Finish:
        self.asked.set()
        assert self.may_end.wait(PATIENCE_S)
        return super().generate(row)


@contextmanager
def midway(harness: WorkerHarness, store: Store | None = None) -> Iterator[None]:
    """An attempt is under way inside the block, and ends behind it."""
    engine = Slow()
    publisher = Publisher(store or harness.store)
    publisher.start()
    context = replace(harness.context, store=store or harness.store, publisher=publisher, engine=engine)
    thread = threading.Thread(target=attempt, args=(context, harness.claim()), daemon=True)
    thread.start()
    try:
        assert engine.asked.wait(PATIENCE_S)
        yield
    finally:
        engine.may_end.set()
        thread.join(PATIENCE_S)
        publisher.stop()
    assert not thread.is_alive()


def test_a_question_is_answered_and_its_job_says_by_whom(harness: WorkerHarness) -> None:
    job = harness.ask("how big is", picture(size=(64, 48)))
    harness.attempt()
    view = harness.job(job)
    assert view.status == "succeeded"
    assert view.result is not None
    assert view.result.text == harness.text(job) == "how big is [64x48]"
    assert view.result.fingerprint == harness.context.engine.fingerprint
    assert (view.result.usage.prompt_tokens, view.result.usage.image_tokens) == (4, 1)
    assert [(a.worker, a.outcome) for a in view.attempts] == [(harness.worker, "succeeded")]
    assert harness.story(job) == ["queued", "running", "succeeded"]


@pytest.mark.parametrize(
    ("stored", "shared", "expected"), [(True, False, CALLER), (True, True, EVERYBODY), (False, False, None)]
)
def test_what_an_engine_keeps_serves_one_caller_unless_answers_are_shared_and_nobody_where_nothing_is_stored(
    harness: WorkerHarness, stored: bool, shared: bool, expected: str | None
) -> None:
    scopes: list[str | None] = []

    class Keeping(EchoEngine):
        def prepare(self, request: Request, pictures: Sequence[Picture], *rest: Any) -> Prompt:
            scopes.append(rest[0])
            return super().prepare(request, pictures, *rest)

        def generate(self, row: Row) -> Finish:
            return replace(super().generate(row), cached_tokens=2)

    queue = harness.settings.queue.model_copy(update={"share_answers": shared})
    harness.context = replace(harness.context, settings=harness.settings.model_copy(update={"queue": queue}))
    placing = replace(harness.placing("how big is", ()), key=None)
    harness.store.run(submit(placing, harness.settings, JobTerms(stored=stored)))
    harness.attempt(Keeping(MODEL))
    result = harness.result(placing.job)
    assert (scopes, result.usage.cached_tokens) == ([expected], 2)


def test_formats_are_tried_in_their_callers_turns(harness: WorkerHarness) -> None:
    callers: list[str] = []

    class Trying(EchoEngine):
        def grammar(self, request: Request, caller: str = "") -> Any:
            callers.append(caller)
            return super().grammar(request, caller)

    harness.ask("one two")
    harness.attempt(Trying(MODEL))
    assert callers == [CALLER]


def test_a_request_the_model_cannot_take_fails_at_once_with_its_reason(harness: WorkerHarness) -> None:
    job = harness.ask("long", min_new_tokens=1_000_000)
    harness.attempt()
    view = harness.job(job)
    assert view.error is not None
    assert (view.error.code, view.error.param) == ("context_length_exceeded", "min_new_tokens")
    assert not view.error.retryable
    assert harness.claim_if_any() is None, "trying again cannot help"


def test_a_picture_that_cannot_be_decoded_fails_at_once_and_names_itself(harness: WorkerHarness) -> None:
    hollow = png((64, 48), b"\0\1\2", colour=RGB)
    job = harness.ask("look", picture(), hollow)
    harness.attempt()
    error = harness.failure(job)
    assert (error.code, error.param) == ("invalid_image", "images[1]")


def test_a_failing_model_is_tried_again_until_its_budget_is_spent(harness: WorkerHarness) -> None:
    job = harness.ask(f"please {FAIL}")
    for _ in range(harness.settings.queue.max_failures - 1):
        harness.attempt()
        assert harness.job(job).status == "running", "a status never goes backwards"
    harness.attempt()
    view = harness.job(job)
    assert view.error is not None
    assert (view.status, view.error.code, view.error.retryable) == ("failed", "attempts_exhausted", True)
    assert harness.story(job) == ["queued", *["running", "requeued"] * 2, "running", "failed"]
    assert harness.claim_if_any() is None


def test_a_model_that_fails_once_costs_nothing_but_time(harness: WorkerHarness) -> None:
    job = harness.ask("try again")
    harness.attempt(Hiccup(MODEL))
    assert harness.nudger.listed(MODEL.lane) == 1, "nobody was told that it waits again"
    harness.attempt()
    assert harness.job(job).status == "succeeded"
    failed, succeeded = harness.job(job).attempts
    assert (failed.outcome, succeeded.outcome) == ("attempt_failed", "succeeded")
    assert failed.error == AttemptError("internal_error", "The model failed with RuntimeError.")
    assert succeeded.error is None


def test_a_missing_picture_is_tried_again_as_it_may_still_arrive(harness: WorkerHarness) -> None:
    data = picture()
    job = harness.ask("look", data)
    Path(harness.settings.blobs.url, digest(data)[:2], digest(data)).unlink()
    harness.attempt()
    assert harness.job(job).status == "running"
    harness.blobs.write(digest(data), data)
    harness.attempt()
    assert harness.job(job).status == "succeeded"


def test_pictures_whose_bytes_were_lost_fail_one_run_not_all_that_follow(harness: WorkerHarness) -> None:
    pictures = [picture(), picture(size=(9, 9))]
    names = tuple(digest(data) for data in pictures)
    job = harness.ask("look", *pictures)
    for name in names:
        Path(harness.settings.blobs.url, name[:2], name).unlink()
    for _ in range(harness.settings.queue.max_failures):
        harness.attempt()
    error = harness.failure(job)
    assert (error.code, error.retryable) == ("internal_error", True)
    placing = harness.placing("look again", tuple(Image(digest=name) for name in names), blobs=names)
    assert harness.store.run(submit(placing, harness.settings)).missing == names, (
        "nobody is asked for all of them"
    )


def test_a_draining_worker_gives_back_and_spends_no_budget(harness: WorkerHarness) -> None:
    job = harness.ask(f"{STALL} until drained")
    for _ in range(harness.settings.queue.max_failures + harness.settings.queue.max_deaths):
        with harness.attempting():
            (lease,) = until(harness.leases.all)
            lease.stop("draining")
    assert harness.job(job).status == "running"
    assert {a.outcome for a in harness.job(job).attempts} == {"worker_draining"}
    assert harness.nudger.listed(MODEL.lane) > 0


BROKEN = DeviceBroken("unspecified launch failure")
AWAY = Unavailable("store_unavailable", "The record store is out of reach; try again.")


@pytest.mark.parametrize(
    ("step", "error", "times", "outcome"),
    [("generate", BROKEN, 2, "device_broken"), ("prepare", AWAY, 3, "store_unavailable")],
)
def test_what_is_no_fault_of_a_run_costs_it_nothing_but_time(
    harness: WorkerHarness,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
    error: Exception,
    times: int,
    outcome: str,
) -> None:
    def fail(*_: object) -> None:
        raise error

    job = harness.ask("innocent")
    with monkeypatch.context() as patch:
        patch.setattr(type(harness.context.engine), step, fail)
        for _ in range(times):
            harness.attempt()
    harness.attempt()
    assert harness.job(job).status == "succeeded"
    assert [a.outcome for a in harness.job(job).attempts] == [*[outcome] * times, "succeeded"]


@pytest.mark.parametrize("losses", [{"calls": 2}, {"replies": 2}])
def test_an_answer_that_cannot_be_written_is_kept_and_written_once(
    harness: WorkerHarness, monkeypatch: pytest.MonkeyPatch, losses: dict[str, int]
) -> None:
    monkeypatch.setattr("worker.lease.RETRY_S", 0.01)
    job = harness.ask("one two")
    attempt(replace(harness.context, store=LossyStore(harness.store, **losses)), harness.claim())
    assert harness.job(job).status == "succeeded"
    assert harness.story(job) == ["queued", "running", "succeeded"]


def test_an_answer_that_the_store_refuses_is_not_computed_without_end(harness: WorkerHarness) -> None:
    class Long(EchoEngine):
        def generate(self, row: Row) -> Finish:
            return replace(super().generate(row), text="x" * 2**21)

    job, before = harness.ask("how big is"), counted("sightline_attempts_total", outcome="retried")
    harness.store.client.config_set("proto-max-bulk-len", 2**20)
    try:
        for _ in range(harness.settings.queue.max_failures):
            harness.attempt(Long(MODEL))
    finally:
        harness.store.client.config_set("proto-max-bulk-len", 2**29)
    view = harness.job(job)
    assert view.status == "failed"
    assert view.error is not None
    assert (view.error.code, view.error.retryable) == ("internal_error", True)
    assert (
        counted("sightline_attempts_total", outcome="retried") == before + harness.settings.queue.max_failures
    )


def test_a_machine_that_starts_no_decoder_costs_a_run_nothing_but_time(
    harness: WorkerHarness, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    job = harness.ask("how big is", picture())
    with monkeypatch.context() as short:
        short.setattr(sys, "executable", str(tmp_path / "gone"))
        for _ in range(harness.settings.queue.max_failures):
            harness.attempt()
    harness.attempt()
    assert harness.job(job).status == "succeeded"


def test_pictures_that_cannot_be_read_hold_up_no_text_behind_them(redis: RedisServer) -> None:
    class Down(Blobs):
        def read(self, name: str) -> bytes:  # noqa: ARG002
            raise BlobsUnavailable("read")

    with worker_harness(redis, backoff_s=7) as harness:
        job, text = harness.ask("look", picture()), harness.ask("one two")
        attempt(replace(harness.context, blobs=Down(harness.settings.blobs)), harness.claim())
        harness.attempt()
        assert harness.job(text).status == "succeeded"
        assert harness.job(job).waiting_reason == "retrying"
        assert [a.outcome for a in harness.job(job).attempts] == ["store_unavailable"]


def test_an_answer_outlives_a_crash_of_the_record_store(redis: RedisServer, harness: WorkerHarness) -> None:
    job = harness.ask("one two")
    store = LossyStore(harness.store)
    with midway(harness, store):
        redis.kill()
        back = threading.Thread(target=start_after, args=(store.lost, redis), daemon=True)
        back.start()
    back.join(PATIENCE_S)
    assert harness.job(job).status == "succeeded"
    assert harness.text(job) == "one two"
    assert harness.story(job) == ["queued", "running", "succeeded"]


def start_after(event: threading.Event, redis: RedisServer) -> None:
    event.wait(PATIENCE_S)
    redis.start()


def test_an_attempt_whose_run_was_forgotten_ends_quietly(redis: RedisServer, harness: WorkerHarness) -> None:
    harness.ask("one two")
    with midway(harness):
        redis.empty()
    assert harness.claim_if_any() is None
    assert harness.leases.all() == []

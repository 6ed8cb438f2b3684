"""Remote pictures come in before a job waits for its model, or say why they cannot."""

import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import TypeVar, cast

import pytest

from shared.blobs import Blobs
from shared.errors import Unavailable
from shared.pending_terms import PendingTerms
from shared.request import Document, Image, Medium, Sound, Video
from shared.settings import PictureSettings
from shared.store import jobs
from shared.store.admission import JobTerms, submit
from shared.store.keys import INTAKE
from shared.store.maintenance import due
from shared.store.script import ScriptCall, Store
from tests.support.attempt_harness import MODEL, WorkerHarness, worker_harness
from tests.support.clients import until
from tests.support.existing import existing
from tests.support.fetching import LOOPBACK
from tests.support.patience import PATIENCE_S
from tests.support.pictures import Serve, answering, origin, picture
from tests.support.redis_server import RedisServer
from tests.support.sounds import sound
from tests.support.videos import video
from worker.fetching.intake import Intake

T = TypeVar("T")
Fetching = tuple[WorkerHarness, Intake]
PICTURE = picture(size=(64, 48))
HELD = PendingTerms(
    lane=MODEL.lane, revision=MODEL.revision, priority="normal", cost=1, reuse=True
).model_dump_json()
HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n"


def serving(body: bytes) -> Serve:
    return answering(HEAD % len(body), body)


@pytest.fixture
def intake(redis: RedisServer) -> Iterator[Fetching]:
    with worker_harness(redis, fetch=LOOPBACK) as harness:
        yield harness, courier_of(harness)


def courier_of(harness: WorkerHarness) -> Intake:
    store, nudger = harness.store, harness.nudger
    return Intake(harness.settings, store, nudger, harness.blobs, harness.leases, harness.worker)


def ask(harness: WorkerHarness, *urls: str, kind: type[Medium] = Image) -> str:
    """A job whose media are elsewhere."""
    placing = harness.placing("look", tuple(kind(url=url) for url in urls))
    assert harness.store.run(submit(placing, harness.settings, JobTerms(pending_terms=HELD))).word == "intake"
    return placing.job


def test_a_remote_picture_is_fetched_once_and_its_job_answered(intake: Fetching) -> None:
    harness, courier = intake
    with origin(serving(PICTURE)) as there:
        job = ask(harness, there.url, there.url)
        assert harness.job(job).waiting_reason == "fetching_inputs"
        courier.work()
        assert len(there.requests) == 1
    assert harness.nudger.listed(MODEL.lane) == 1
    harness.attempt()
    assert harness.text(job) == "look [64x48] [64x48]"
    assert harness.job(job).cache == "MISS"


def test_answers_about_a_remote_picture_take_as_many_rows_as_about_any_other(intake: Fetching) -> None:
    harness, courier = intake
    terms = PendingTerms.model_validate_json(HELD).model_copy(update={"rows": 8}).model_dump_json()
    with origin(serving(PICTURE)) as there:
        placing = harness.placing("look", (Image(url=there.url),))
        harness.store.run(submit(placing, harness.settings, JobTerms(pending_terms=terms)))
        courier.work()
    assert harness.claim().rows == 8


@pytest.mark.parametrize(
    ("kind", "body", "accepted", "text"),
    [
        (Sound, sound("FLAC", 1.5), b"accept: audio/wav", "look [1.5s]"),
        (Video, video(), b"accept: video/mp4", "look [3x64x48]"),
    ],
    ids=["sound", "video"],
)
def test_a_remote_sound_or_video_is_fetched_and_its_job_answered(
    intake: Fetching, kind: type[Medium], body: bytes, accepted: bytes, text: str
) -> None:
    harness, courier = intake
    with origin(serving(body)) as there:
        job = ask(harness, there.url, kind=kind)
        courier.work()
    assert accepted in there.requests[0].lower()
    harness.attempt()
    assert harness.text(job) == text


@pytest.mark.parametrize("url", [None, "http://169.254.169.254/a"])
@pytest.mark.parametrize(
    ("kind", "code", "param"),
    [(Sound, "invalid_audio", "sounds[0]"), (Video, "invalid_video", "videos[0]")],
)
def test_what_is_no_sound_or_video_or_may_not_be_fetched_ends_the_job_by_its_place(
    intake: Fetching, kind: type[Medium], code: str, param: str, url: str | None
) -> None:
    harness, courier = intake
    with origin(serving(b"?")) as there:
        job = ask(harness, url or there.url, kind=kind)
        courier.work()
    error = harness.failure(job)
    assert (error.code, error.param) == (code, param)


@pytest.mark.parametrize(("shared", "cache"), [(True, "HIT"), (False, "MISS")])
def test_a_fetched_pictures_answer_is_another_callers_only_where_the_settings_say_so(
    redis: RedisServer, shared: bool, cache: str
) -> None:
    with worker_harness(redis, fetch=LOOPBACK, share_answers=shared) as harness:
        courier = courier_of(harness)
        harness.beat()
        with origin(serving(PICTURE)) as there:
            ask(harness, there.url)
            courier.work()
            harness.attempt()
            placing = replace(harness.placing("look", (Image(url=there.url),)), caller="another")
            harness.store.run(submit(placing, harness.settings, JobTerms(pending_terms=HELD)))
            courier.work()
        view = harness.store.run(jobs.view(harness.settings, "another", placing.job))
    assert view is not None
    assert view.cache == cache


def test_a_picture_is_fetched_at_once_though_a_hundred_before_it_came_too_late(intake: Fetching) -> None:
    """The store ends a part of a long line only, and the courier's nudge was the last."""
    harness, courier = intake
    with origin(serving(PICTURE)) as there:
        late = JobTerms(pending_terms=HELD, finish_by_ms=1)
        for _ in range(100):
            harness.store.run(
                submit(harness.placing("look", (Image(url=there.url),)), harness.settings, late)
            )
        job = ask(harness, there.url)
        courier.work()
    assert harness.job(job).waiting_reason != "fetching_inputs"


def test_pictures_are_fetched_though_every_nudge_is_lost(intake: Fetching) -> None:
    harness, courier = intake
    with origin(serving(PICTURE)) as there:
        asked = [ask(harness, f"{there.url}?{number}") for number in range(20)]
        poll = courier.poll(4, pause_s=0.02)
        poll.start()
        until(lambda: all(harness.job(job).waiting_reason != "fetching_inputs" for job in asked))
        poll.stop()


def test_the_same_picture_by_url_and_inline_is_one_question(intake: Fetching) -> None:
    harness, courier = intake
    harness.beat()
    harness.ask("look", PICTURE)
    harness.attempt()
    with origin(serving(PICTURE)) as there:
        job = ask(harness, there.url)
        courier.work()
    view = harness.job(job)
    assert (view.status, view.cache) == ("succeeded", "HIT")
    assert harness.claim_if_any() is None


@pytest.mark.parametrize(
    ("serve", "code"),
    [
        (answering(b"HTTP/1.1 404 Gone\r\ncontent-length: 0\r\n\r\n"), "fetch_failed"),
        (answering(b"HTTP/1.1 403 No\r\ncontent-length: 0\r\n\r\n"), "fetch_failed"),
        (serving(b"<html>no picture</html>"), "invalid_image"),
        (answering(b"HTTP/1.1 302 Found\r\nlocation: http://10.0.0.1/x\r\n\r\n"), "invalid_image_url"),
    ],
)
def test_a_picture_that_cannot_be_had_fails_its_job_at_the_first_try(
    intake: Fetching, serve: Serve, code: str
) -> None:
    harness, courier = intake
    with origin(serve) as there:
        job = ask(harness, there.url)
        courier.work()
        courier.work()
        assert len(there.requests) == 1
    error = harness.failure(job)
    assert (error.code, error.param) == (code, "images[0]")
    assert harness.story(job) == ["failed"]


def in_turn(*serve: Serve) -> Serve:
    """Serves each connection as the next says, and all others as the last."""
    turns = list(serve)

    def serve_next(connection: socket.socket, stopped: threading.Event) -> None:
        (turns.pop(0) if len(turns) > 1 else turns[0])(connection, stopped)

    return serve_next


def work_when_due(harness: WorkerHarness, courier: Intake) -> None:
    """The courier's next try; nothing is due before the pause has passed."""
    assert harness.claim_if_any(lane=INTAKE) is None
    until(lambda: harness.store.run(due()))
    courier.work()


BUSY = answering(b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n")
SLOW_DOWN = answering(b"HTTP/1.1 429 No\r\nretry-after: 1\r\ncontent-length: 0\r\n\r\n")


@pytest.mark.parametrize("busy", [BUSY, SLOW_DOWN, answering(b""), answering(HEAD % 9, b"cut")])
def test_a_busy_origin_is_asked_again_for_what_it_has_not_sent(intake: Fetching, busy: Serve) -> None:
    harness, courier = intake
    with origin(serving(PICTURE)) as good, origin(in_turn(busy, serving(PICTURE))) as there:
        job = ask(harness, good.url, there.url)
        courier.work()
        assert harness.job(job).waiting_reason == "retrying"
        work_when_due(harness, courier)
        assert (len(good.requests), len(there.requests)) == (1, 2)
    harness.attempt()
    assert harness.text(job) == "look [64x48] [64x48]"


def test_an_origin_that_stays_busy_fails_the_job_and_says_how_often_it_was_asked(redis: RedisServer) -> None:
    fetch = LOOPBACK.model_copy(update={"max_tries": 2})
    with worker_harness(redis, fetch=fetch, backoff_s=0.01) as harness, origin(BUSY) as there:
        courier = courier_of(harness)
        job = ask(harness, there.url)
        courier.work()
        work_when_due(harness, courier)
        error = harness.failure(job)
    assert (error.code, len(there.requests)) == ("fetch_failed", 2)
    assert error.message.endswith("the origin answered with status 503 (tried 2 times).")


@pytest.mark.parametrize("asks", [b"3600", b"Fri, 31 Dec 2100 23:59:59 GMT"])
def test_an_origin_that_asks_to_wait_past_the_deadline_fails_the_job_at_once(
    intake: Fetching, asks: bytes
) -> None:
    harness, courier = intake
    answer = b"HTTP/1.1 503 Busy\r\nretry-after: %s\r\ncontent-length: 0\r\n\r\n" % asks
    with origin(answering(answer)) as there:
        placing = harness.placing("look", (Image(url=there.url),))
        soon = JobTerms(pending_terms=HELD, finish_by_ms=int(time.time() * 1000) + 600_000)
        harness.store.run(submit(placing, harness.settings, soon))
        courier.work()
    error = harness.failure(placing.job)
    assert (error.code, "asks to wait" in error.message) == ("fetch_failed", True)


@pytest.mark.parametrize("asked", [Image, Document])
def test_a_files_bytes_say_what_it_is_whatever_was_asked_for(intake: Fetching, asked: type[Medium]) -> None:
    harness, courier = intake
    with origin(serving(sound("FLAC", 1.5))) as there:
        job = ask(harness, there.url, kind=asked)
        courier.work()
    harness.attempt()
    assert harness.text(job) == "look [1.5s]"


def test_a_job_cancelled_as_its_picture_comes_is_not_admitted(intake: Fetching) -> None:
    harness, courier = intake
    jobs: list[str] = []

    def serve(connection: socket.socket, _: threading.Event) -> None:
        harness.cancel(jobs[0])
        connection.sendall(HEAD % len(PICTURE) + PICTURE)

    with origin(serve) as there:
        jobs.append(ask(harness, there.url))
        courier.work()
    assert harness.job(jobs[0]).status == "cancelled"
    assert harness.claim_if_any() is None


def test_a_courier_that_ends_gives_a_slow_fetch_to_another_and_takes_no_more(intake: Fetching) -> None:
    harness, courier = intake

    def stall(connection: socket.socket, _: threading.Event) -> None:
        connection.sendall(HEAD % len(PICTURE))
        courier.draining.set()
        harness.leases.drain()
        connection.recv(1)

    with origin(stall) as slow:
        job = ask(harness, slow.url)
        courier.work()
        courier.work()
        assert len(slow.requests) == 1
    view = harness.job(job)
    assert (view.status, view.error) == ("queued", None)
    other = replace(courier, draining=threading.Event())
    claimed = existing(other.take())
    assert (claimed.id, claimed.attempt) == (job, 2)


def test_a_record_store_away_while_a_picture_is_kept_costs_the_job_no_budget(intake: Fetching) -> None:
    harness, courier = intake
    with origin(serving(PICTURE)) as there:
        job = ask(harness, there.url)
        for _ in range(harness.settings.queue.max_failures):
            cut_off_after_claim(harness, courier)
        courier.work()
    harness.attempt()
    assert harness.job(job).status == "succeeded"


def cut_off_after_claim(harness: WorkerHarness, courier: Intake) -> None:
    class CutOff(Store):
        def run(self, call: ScriptCall[T]) -> T:
            if call.function == "touch_output":
                raise Unavailable("store_unavailable", "cut off")
            return super().run(call)

    replace(courier, store=CutOff(harness.store.client)).work()


def test_a_picture_is_written_only_once_its_deletion_has_ended(
    intake: Fetching, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness, courier = intake
    steps: list[str] = []
    write = Blobs.write

    class Deleting(Store):
        def run(self, call: ScriptCall[T]) -> T:
            if call.function == "touch_output" and len(steps) < 2:
                steps.append("deletion in progress")
                return cast(T, call.arguments["digests"])
            return super().run(call)

    def noted_write(blobs: Blobs, name: str, data: bytes) -> None:
        steps.append("written")
        write(blobs, name, data)

    monkeypatch.setattr("worker.fetching.intake.DELETION_POLL_S", 0)
    monkeypatch.setattr(Blobs, "write", noted_write)
    with origin(serving(PICTURE)) as there:
        ask(harness, there.url)
        replace(courier, store=Deleting(harness.store.client)).work()
    assert steps == ["deletion in progress", "deletion in progress", "written"]


def test_the_pictures_of_a_job_are_fetched_at_the_same_time(intake: Fetching) -> None:
    harness, courier = intake
    both = threading.Barrier(2)

    def serve(connection: socket.socket, _: threading.Event) -> None:
        both.wait(PATIENCE_S)
        connection.sendall(HEAD % len(PICTURE) + PICTURE)

    with origin(serve) as one, origin(serve) as other:
        job = ask(harness, one.url, other.url)
        courier.work()
    harness.attempt()
    assert harness.text(job) == "look [64x48] [64x48]"


def test_the_pictures_of_a_job_are_limited_together(intake: Fetching) -> None:
    harness, courier = intake
    limits = PictureSettings(max_mb_request=1.5 * len(PICTURE) / 2**20)
    with origin(serving(PICTURE)) as one, origin(serving(PICTURE)) as other:
        job = ask(harness, one.url, other.url)
        replace(courier, settings=harness.settings.model_copy(update={"pictures": limits})).work()
    error = harness.failure(job)
    assert error.code == "fetch_failed"
    assert "together" in error.message

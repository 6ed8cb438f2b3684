"""Remote pictures come in before a job waits for its model, or say why they cannot."""

import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, TypeVar, cast

import pytest

from shared.blobs import Blobs, digest
from shared.errors import Unavailable
from shared.job import Times
from shared.pending_terms import PendingTerms
from shared.request import Image, Medium, Sound, Video
from shared.settings import PictureSettings
from shared.store import jobs
from shared.store.admission import JobTerms, submit
from shared.store.keys import INTAKE
from shared.store.script import ScriptCall, Store
from tests.support.attempt_harness import MODEL, Unsteady, Workbench, workbench
from tests.support.fetching import LOOPBACK
from tests.support.pictures import Serve, answering, origin, picture
from tests.support.redis_server import RedisServer
from tests.support.sounds import sound
from tests.support.videos import video
from worker.fetching.guarded_http import Allowance
from worker.fetching.intake import Intake

T = TypeVar("T")
PICTURE = picture(size=(64, 48))
HELD = PendingTerms(
    lane=MODEL.lane, revision=MODEL.revision, priority="normal", cost=1, reuse=True
).model_dump_json()
HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n"


def serving(body: bytes) -> Serve:
    return answering(HEAD % len(body), body)


@pytest.fixture
def intake(redis: RedisServer) -> Iterator[tuple[Workbench, Intake]]:
    with workbench(redis, fetch=LOOPBACK) as desk:
        yield (
            desk,
            Intake(desk.settings, desk.store, desk.nudger, desk.blobs, desk.leases, desk.worker),
        )


def ask(desk: Workbench, *urls: str, kind: type[Medium] = Image) -> str:
    """A job whose media are elsewhere."""
    placing = desk.placing("look", tuple(kind(url=url) for url in urls))
    assert desk.store.run(submit(placing, desk.settings, JobTerms(pending_terms=HELD))).word == "intake"
    return placing.job


def test_a_remote_picture_is_fetched_once_and_its_job_answered(intake: tuple[Workbench, Intake]) -> None:
    desk, courier = intake
    with origin(serving(PICTURE)) as there:
        job = ask(desk, there.url, there.url)
        assert desk.job(job).waiting_reason == "fetching_inputs"
        courier.work()
        assert len(there.requests) == 1
    assert desk.nudger.listed(MODEL.lane) == 1
    desk.attempt()
    assert desk.text(job) == "look [64x48] [64x48]"
    assert desk.job(job).cache == "MISS"


def test_answers_about_a_remote_picture_take_as_many_rows_as_about_any_other(
    intake: tuple[Workbench, Intake],
) -> None:
    desk, courier = intake
    terms = PendingTerms.model_validate_json(HELD).model_copy(update={"rows": 8}).model_dump_json()
    with origin(serving(PICTURE)) as there:
        placing = desk.placing("look", (Image(url=there.url),))
        desk.store.run(submit(placing, desk.settings, JobTerms(pending_terms=terms)))
        courier.work()
    assert desk.claim().rows == 8


def test_a_remote_sound_is_fetched_and_its_job_answered(intake: tuple[Workbench, Intake]) -> None:
    desk, courier = intake
    with origin(serving(sound("FLAC", 1.5))) as there:
        job = ask(desk, there.url, kind=Sound)
        courier.work()
    assert b"accept: audio/wav" in there.requests[0].lower()
    desk.attempt()
    assert desk.text(job) == "look [1.5s]"


def test_a_remote_video_is_fetched_and_its_job_answered(intake: tuple[Workbench, Intake]) -> None:
    desk, courier = intake
    with origin(serving(video())) as there:
        job = ask(desk, there.url, kind=Video)
        courier.work()
    assert b"accept: video/mp4" in there.requests[0].lower()
    desk.attempt()
    assert desk.text(job) == "look [3x64x48]"


@pytest.mark.parametrize("url", [None, "http://169.254.169.254/a.mp4"])
def test_what_is_no_video_or_may_not_be_fetched_ends_the_job_by_its_place(
    intake: tuple[Workbench, Intake], url: str | None
) -> None:
    desk, courier = intake
    with origin(serving(PICTURE)) as there:
        job = ask(desk, url or there.url, kind=Video)
        courier.work()
    error = desk.job(job).error
    assert error is not None
    assert (error.code, error.param) == ("invalid_video", "videos[0]")


@pytest.mark.parametrize(
    ("body", "url", "code"),
    [(PICTURE, None, "invalid_audio"), (b"", "http://169.254.169.254/a.wav", "invalid_audio")],
)
def test_what_is_no_sound_or_may_not_be_fetched_ends_the_job_by_its_place(
    intake: tuple[Workbench, Intake], body: bytes, url: str | None, code: str
) -> None:
    desk, courier = intake
    with origin(serving(body)) as there:
        job = ask(desk, url or there.url, kind=Sound)
        courier.work()
    error = desk.job(job).error
    assert error is not None
    assert (error.code, error.param) == (code, "sounds[0]")


@pytest.mark.parametrize(("shared", "cache"), [(True, "HIT"), (False, "MISS")])
def test_a_fetched_pictures_answer_is_another_callers_only_where_the_settings_say_so(
    redis: RedisServer, shared: bool, cache: str
) -> None:
    with workbench(redis, fetch=LOOPBACK, share_answers=shared) as desk:
        courier = Intake(desk.settings, desk.store, desk.nudger, desk.blobs, desk.leases, desk.worker)
        desk.beat()
        with origin(serving(PICTURE)) as there:
            ask(desk, there.url)
            courier.work()
            desk.attempt()
            placing = replace(desk.placing("look", (Image(url=there.url),)), caller="another")
            desk.store.run(submit(placing, desk.settings, JobTerms(pending_terms=HELD)))
            courier.work()
        view = desk.store.run(jobs.view(desk.settings, "another", placing.job))
    assert view is not None
    assert view.cache == cache


def test_a_picture_is_fetched_at_once_though_a_hundred_before_it_came_too_late(
    intake: tuple[Workbench, Intake],
) -> None:
    """The store ends a part of a long line only, and the courier's nudge was the last."""
    desk, courier = intake
    with origin(serving(PICTURE)) as there:
        late = JobTerms(pending_terms=HELD, times=Times(start_by=1))
        for _ in range(100):
            desk.store.run(submit(desk.placing("look", (Image(url=there.url),)), desk.settings, late))
        job = ask(desk, there.url)
        courier.work()
    assert desk.job(job).waiting_reason != "fetching_inputs"


def test_the_same_picture_by_url_and_inline_is_one_question(intake: tuple[Workbench, Intake]) -> None:
    desk, courier = intake
    desk.beat()
    desk.ask("look", PICTURE)
    desk.attempt()
    with origin(serving(PICTURE)) as there:
        job = ask(desk, there.url)
        courier.work()
    view = desk.job(job)
    assert (view.status, view.cache) == ("succeeded", "HIT")
    assert desk.claim_if_any() is None


@pytest.mark.parametrize(
    ("serve", "code"),
    [
        (answering(b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n"), "fetch_failed"),
        (answering(b"HTTP/1.1 404 Gone\r\ncontent-length: 0\r\n\r\n"), "fetch_failed"),
        (answering(b""), "fetch_failed"),
        (serving(b"<html>no picture</html>"), "invalid_image"),
        (answering(b"HTTP/1.1 302 Found\r\nlocation: http://10.0.0.1/x\r\n\r\n"), "invalid_image_url"),
    ],
)
def test_a_picture_that_cannot_be_had_fails_its_job_at_the_first_try(
    intake: tuple[Workbench, Intake], serve: Serve, code: str
) -> None:
    desk, courier = intake
    with origin(serve) as there:
        job = ask(desk, there.url)
        courier.work()
        courier.work()
        assert len(there.requests) == 1
    error = desk.job(job).error
    assert error is not None
    assert (error.code, error.param) == (code, "images[0]")
    assert desk.story(job) == ["failed"]


def test_a_job_cancelled_while_its_picture_is_fetched_is_not_admitted(
    intake: tuple[Workbench, Intake],
) -> None:
    desk, courier = intake
    jobs: list[str] = []

    def serve(connection: socket.socket, _: threading.Event) -> None:
        desk.cancel(jobs[0])
        connection.sendall(HEAD % len(PICTURE) + PICTURE)

    with origin(serve) as there:
        jobs.append(ask(desk, there.url))
        courier.work()
    assert desk.job(jobs[0]).status == "cancelled"
    assert desk.claim_if_any() is None


def test_a_courier_that_ends_gives_a_slow_fetch_to_another_and_takes_no_more(
    intake: tuple[Workbench, Intake],
) -> None:
    desk, courier = intake

    def stall(connection: socket.socket, _: threading.Event) -> None:
        connection.sendall(HEAD % len(PICTURE))
        courier.draining.set()
        desk.leases.drain()
        connection.recv(1)

    with origin(stall) as slow:
        job = ask(desk, slow.url)
        courier.work()
        courier.work()
        assert len(slow.requests) == 1
    view = desk.job(job)
    assert (view.status, view.error) == ("queued", None)
    other = replace(courier, draining=threading.Event())
    claimed = other.take()
    assert claimed is not None
    assert (claimed.id, claimed.attempt) == (job, 2)


def test_a_record_store_away_while_a_picture_is_kept_costs_the_job_no_budget(
    intake: tuple[Workbench, Intake],
) -> None:
    desk, courier = intake
    with origin(serving(PICTURE)) as there:
        job = ask(desk, there.url)
        for _ in range(desk.settings.queue.max_failures):
            cut_off_after_claim(desk, courier)
        courier.work()
    desk.attempt()
    assert desk.job(job).status == "succeeded"


def cut_off_after_claim(desk: Workbench, courier: Intake) -> None:
    class CutOff(Store):
        def run(self, call: ScriptCall[T]) -> T:
            if call.script.name == "touch":
                raise Unavailable("store_unavailable", "cut off")
            return super().run(call)

    replace(courier, store=CutOff(desk.store.client)).work()


def test_a_picture_is_written_only_once_its_deletion_has_ended(
    intake: tuple[Workbench, Intake], monkeypatch: pytest.MonkeyPatch
) -> None:
    desk, courier = intake
    steps: list[str] = []
    write = Blobs.write

    class Deleting(Store):
        def run(self, call: ScriptCall[T]) -> T:
            if call.script.name == "touch" and len(steps) < 2:
                steps.append("deletion in progress")
                return cast(T, call.arguments["digests"])
            return super().run(call)

    def noted_write(blobs: Blobs, name: str, data: bytes) -> None:
        steps.append("written")
        write(blobs, name, data)

    monkeypatch.setattr("worker.fetching.intake.DELETION_POLL_S", 0)
    monkeypatch.setattr(Blobs, "write", noted_write)
    with origin(serving(PICTURE)) as there:
        ask(desk, there.url)
        replace(courier, store=Deleting(desk.store.client)).work()
    assert steps == ["deletion in progress", "deletion in progress", "written"]


def test_a_claim_while_the_store_is_away_is_one_line_of_log_and_no_failed_task(
    intake: tuple[Workbench, Intake], caplog: pytest.LogCaptureFixture
) -> None:
    desk, courier = intake
    replace(courier, store=Unsteady(desk.store, calls=1)).work()
    assert [(r.levelname, r.getMessage()) for r in caplog.records] == [
        ("WARNING", "fetches wait: lost on the way")
    ]


def test_a_courier_that_dies_while_fetching_leaves_the_job_to_another(
    intake: tuple[Workbench, Intake],
) -> None:
    desk, courier = intake
    with origin(serving(PICTURE)) as there:
        job = ask(desk, there.url)
        assert desk.claim_if_any(lane=INTAKE)
        desk.give_up()
        courier.work()
    assert desk.blobs.read(digest(PICTURE)) == PICTURE
    desk.attempt()
    assert desk.job(job).status == "succeeded"


def test_the_pictures_of_a_job_are_fetched_at_the_same_time(intake: tuple[Workbench, Intake]) -> None:
    desk, courier = intake
    both = threading.Barrier(2)

    def serve(connection: socket.socket, _: threading.Event) -> None:
        both.wait(30)
        connection.sendall(HEAD % len(PICTURE) + PICTURE)

    with origin(serve) as one, origin(serve) as other:
        job = ask(desk, one.url, other.url)
        courier.work()
    desk.attempt()
    assert desk.text(job) == "look [64x48] [64x48]"


def test_the_pictures_of_a_job_are_limited_together(intake: tuple[Workbench, Intake]) -> None:
    desk, courier = intake
    limits = PictureSettings(max_mb_request=1.5 * len(PICTURE) / 2**20)
    with origin(serving(PICTURE)) as one, origin(serving(PICTURE)) as other:
        job = ask(desk, one.url, other.url)
        replace(courier, settings=desk.settings.model_copy(update={"pictures": limits})).work()
    error = desk.job(job).error
    assert error is not None
    assert error.code == "fetch_failed"
    assert "together" in error.message


def test_a_picture_that_is_named_often_counts_as_often(intake: tuple[Workbench, Intake]) -> None:
    desk, courier = intake
    limits = PictureSettings(max_megapixels_request=64 * 48 * 2.5 / 1e6)
    with origin(serving(PICTURE)) as there:
        job = ask(desk, *[there.url] * 3)
        replace(courier, settings=desk.settings.model_copy(update={"pictures": limits})).work()
        assert len(there.requests) == 1
    error = desk.job(job).error
    assert error is not None
    assert (error.code, error.param) == ("invalid_image", "images[2]")


def test_a_job_s_pictures_share_one_deadline(
    intake: tuple[Workbench, Intake], monkeypatch: pytest.MonkeyPatch
) -> None:
    desk, courier = intake
    given: list[Allowance] = []

    def fetch(*arguments: Any, **_: Any) -> bytes:
        given.append(arguments[-1])
        return PICTURE

    monkeypatch.setattr("worker.fetching.intake.fetch", fetch)
    ask(desk, *(f"http://127.0.0.1:{port}/" for port in range(9001, 9020)))
    courier.work()
    assert len(given) == 19
    assert len(set(map(id, given))) == 1

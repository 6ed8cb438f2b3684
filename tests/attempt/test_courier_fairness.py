"""What becomes of a job while those of others have all places of its courier."""

from contextlib import closing
from dataclasses import replace
from typing import NoReturn

from shared.request import Document, Image
from shared.store.admission import JobTerms, submit
from shared.store.jobs import view
from tests.attempt.test_intake import HELD, PICTURE, ask, serving
from tests.support.attempt_harness import CALLER, workbench
from tests.support.documents import pdf
from tests.support.fetching import LOOPBACK
from tests.support.pictures import origin
from tests.support.redis_server import RedisServer
from worker.fair_share import KeyedFairSemaphore
from worker.fetching.intake import SMALL, Intake


class Crowded(KeyedFairSemaphore):
    def reserve(self, *wanted: object) -> NoReturn:
        assert CALLER in wanted
        raise TimeoutError


def test_a_large_picture_without_a_place_is_waited_for_and_not_said_to_be_slow(redis: RedisServer) -> None:
    with workbench(redis, fetch=LOOPBACK) as desk, origin(serving(PICTURE + bytes(2 * SMALL))) as there:
        courier = Intake(desk.settings, desk.store, desk.nudger, desk.blobs, desk.leases, desk.worker)
        job = ask(desk, there.url)
        replace(courier, large=Crowded(0)).work()
        assert desk.job(job).waiting_reason == "fetching_inputs"
        courier.work()
        desk.attempt()
        assert desk.text(job) == "look [64x48]"


def test_a_document_without_a_place_leaves_the_courier_to_another_caller_s(redis: RedisServer) -> None:
    with workbench(redis, fetch=LOOPBACK) as desk, origin(serving(pdf(["page"]))) as there:
        courier = Intake(desk.settings, desk.store, desk.nudger, desk.blobs, desk.leases, desk.worker)
        own, others = (desk.placing("look", (Document(url=there.url),)) for _ in range(2))
        for placing in (own, replace(others, caller="zoe")):
            desk.store.run(submit(placing, desk.settings, JobTerms(pending_terms=HELD)))
        replace(courier, documents=Crowded(0)).work()
        with closing(courier.renderer):
            courier.work()
        assert desk.job(own.job).waiting_reason == "fetching_inputs"
        another = desk.store.run(view(desk.settings, "zoe", others.job))
        assert another is not None
        assert another.waiting_reason == "no_worker"


def test_others_go_before_a_job_that_found_no_place(redis: RedisServer) -> None:
    with workbench(redis, fetch=LOOPBACK) as desk, origin(serving(PICTURE + bytes(2 * SMALL))) as there:
        courier = Intake(desk.settings, desk.store, desk.nudger, desk.blobs, desk.leases, desk.worker)
        job = ask(desk, there.url)
        another = replace(desk.placing("look", (Image(url=there.url),)), caller="zoe")
        desk.store.run(submit(another, desk.settings, JobTerms(pending_terms=HELD)))
        replace(courier, large=Crowded(0)).work()
        courier.work()
        assert desk.job(job).waiting_reason == "fetching_inputs"

"""What becomes of a job while those of others have all places of its courier."""

from contextlib import closing
from dataclasses import replace
from typing import NoReturn

from shared.request import Document
from shared.store.admission import JobTerms, submit
from shared.store.jobs import view
from tests.attempt.test_intake import HELD, PICTURE, ask, courier_of, serving
from tests.support.attempt_harness import CALLER, worker_harness
from tests.support.documents import pdf
from tests.support.existing import existing
from tests.support.fetching import LOOPBACK
from tests.support.pictures import origin
from tests.support.redis_server import RedisServer
from worker.fair_semaphore import KeyedFairSemaphore
from worker.fetching.intake import SMALL


class Crowded(KeyedFairSemaphore):
    def reserve(self, *wanted: object) -> NoReturn:
        assert CALLER in wanted
        raise TimeoutError


def test_a_large_picture_without_a_place_is_waited_for_and_not_said_to_be_slow(redis: RedisServer) -> None:
    with (
        worker_harness(redis, fetch=LOOPBACK) as harness,
        origin(serving(PICTURE + bytes(2 * SMALL))) as there,
    ):
        courier = courier_of(harness)
        job = ask(harness, there.url)
        replace(courier, large=Crowded(0)).work()
        assert harness.job(job).waiting_reason == "fetching_inputs"
        courier.work()
        harness.attempt()
        assert harness.text(job) == "look [64x48]"


def test_a_document_without_a_place_leaves_the_courier_to_another_caller_s(redis: RedisServer) -> None:
    with worker_harness(redis, fetch=LOOPBACK) as harness, origin(serving(pdf(["page"]))) as there:
        courier = courier_of(harness)
        own, others = (harness.placing("look", (Document(url=there.url),)) for _ in range(2))
        for placing in (own, replace(others, caller="zoe")):
            harness.store.run(submit(placing, harness.settings, JobTerms(pending_terms=HELD)))
        replace(courier, documents=Crowded(0)).work()
        with closing(courier.renderer):
            courier.work()
        assert harness.job(own.job).waiting_reason == "fetching_inputs"
        another = existing(harness.store.run(view(harness.settings, "zoe", others.job)))
        assert another.waiting_reason == "no_worker"

"""What becomes of a job while those of others have all places of its courier."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import replace
from typing import NoReturn

import pytest

from shared.request import Document, Image, Request
from shared.store.admission import JobTerms, submit
from shared.store.jobs import view
from tests.attempt.test_intake import HELD, PICTURE, ask, serving
from tests.support.attempt_harness import CALLER, worker_harness
from tests.support.clients import until
from tests.support.documents import pdf
from tests.support.fetching import LOOPBACK
from tests.support.patience import PATIENCE_S
from tests.support.pictures import origin
from tests.support.redis_server import RedisServer
from worker.fair_semaphore import KeyedFairSemaphore
from worker.fetching.intake import SMALL, Intake
from worker.lease import Lease

THREADS, JOBS_EACH = 16, 12


class Crowded(KeyedFairSemaphore):
    def reserve(self, *wanted: object) -> NoReturn:
        assert CALLER in wanted
        raise TimeoutError


def test_a_large_picture_without_a_place_is_waited_for_and_not_said_to_be_slow(redis: RedisServer) -> None:
    with (
        worker_harness(redis, fetch=LOOPBACK) as harness,
        origin(serving(PICTURE + bytes(2 * SMALL))) as there,
    ):
        courier = Intake(
            harness.settings, harness.store, harness.nudger, harness.blobs, harness.leases, harness.worker
        )
        job = ask(harness, there.url)
        replace(courier, large=Crowded(0)).work()
        assert harness.job(job).waiting_reason == "fetching_inputs"
        courier.work()
        harness.attempt()
        assert harness.text(job) == "look [64x48]"


def test_a_document_without_a_place_leaves_the_courier_to_another_caller_s(redis: RedisServer) -> None:
    with worker_harness(redis, fetch=LOOPBACK) as harness, origin(serving(pdf(["page"]))) as there:
        courier = Intake(
            harness.settings, harness.store, harness.nudger, harness.blobs, harness.leases, harness.worker
        )
        own, others = (harness.placing("look", (Document(url=there.url),)) for _ in range(2))
        for placing in (own, replace(others, caller="zoe")):
            harness.store.run(submit(placing, harness.settings, JobTerms(pending_terms=HELD)))
        replace(courier, documents=Crowded(0)).work()
        with closing(courier.renderer):
            courier.work()
        assert harness.job(own.job).waiting_reason == "fetching_inputs"
        another = there(harness.store.run(view(harness.settings, "zoe", others.job)))
        assert another.waiting_reason == "no_worker"


def test_others_go_before_a_job_that_found_no_place(redis: RedisServer) -> None:
    with (
        worker_harness(redis, fetch=LOOPBACK) as harness,
        origin(serving(PICTURE + bytes(2 * SMALL))) as there,
    ):
        courier = Intake(
            harness.settings, harness.store, harness.nudger, harness.blobs, harness.leases, harness.worker
        )
        job = ask(harness, there.url)
        another = replace(harness.placing("look", (Image(url=there.url),)), caller="zoe")
        harness.store.run(submit(another, harness.settings, JobTerms(pending_terms=HELD)))
        replace(courier, large=Crowded(0)).work()
        courier.work()
        assert harness.job(job).waiting_reason == "fetching_inputs"


def test_one_caller_s_slow_origins_keep_no_other_s_picture_waiting(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on, stored = threading.Event(), Intake._stored_request

    def slow(courier: Intake, lease: Lease) -> Request:
        assert lease.claim.caller != CALLER or go_on.wait(PATIENCE_S)
        return stored(courier, lease)

    monkeypatch.setattr(Intake, "_stored_request", slow)
    with (
        worker_harness(redis, fetch=LOOPBACK) as harness,
        origin(serving(PICTURE)) as there,
        ThreadPoolExecutor(THREADS) as threads,
        ExitStack() as stack,
    ):
        stack.callback(go_on.set)
        courier = Intake(
            harness.settings, harness.store, harness.nudger, harness.blobs, harness.leases, harness.worker
        )
        jobs = [ask(harness, f"{there.url}?{number}") for number in range(2 * THREADS)]

        for _ in jobs:
            threads.submit(courier.work_on)
        until(lambda: len(harness.leases.all()) == JOBS_EACH)
        another = replace(harness.placing("look", (Image(url=there.url),)), caller="zoe")
        harness.store.run(submit(another, harness.settings, JobTerms(pending_terms=HELD)))
        threads.submit(courier.work_on)
        until(lambda: harness.claim_if_any() is not None)
        assert {harness.job(job).waiting_reason for job in jobs} == {"fetching_inputs"}
        go_on.set()
        until(lambda: all(harness.job(job).waiting_reason != "fetching_inputs" for job in jobs))

"""A courier that stops cuts no webhook call short: its job's owner would be called twice."""

import os
import subprocess
import sys

import pytest

from shared.webhooks import Webhook
from tests.support.attempt_harness import WorkerHarness
from tests.support.clients import until
from tests.support.deliverer_harness import SECRET, DelivererHarness
from tests.support.patience import PATIENCE_S
from tests.support.receiver import receiver
from tests.support.redis_server import RedisServer
from tests.support.service import ROOT

COURIER = """
import sys, threading
from shared.settings import settings
from worker.courier import Courier

def report():
    courier.deliverer.draining.wait()
    print("stopping", flush=True)

courier = Courier(1, settings())
courier.open()
threading.Thread(target=report, daemon=True).start()
sys.stdin.readline()
courier.drain()
courier.close()
print("closed", flush=True)
"""


@pytest.fixture
def webhooks(redis: RedisServer, harness: WorkerHarness) -> DelivererHarness:
    return DelivererHarness(harness, redis)


@pytest.mark.parametrize("drain_s", [PATIENCE_S, 0])
def test_a_courier_that_stops_waits_for_a_slow_receiver_or_says_that_it_is_called_again(
    webhooks: DelivererHarness, redis: RedisServer, drain_s: float
) -> None:
    env = dict(
        os.environ,
        SIGHTLINE_REDIS__URL=redis.url(),
        SIGHTLINE_BLOBS__URL=webhooks.harness.settings.blobs.url,
        SIGHTLINE_FETCH__ALLOW="127.0.0.1",
        SIGHTLINE_WEBHOOK__SECRET=SECRET,
        SIGHTLINE_WEBHOOK__LIMIT_S=str(PATIENCE_S),
        SIGHTLINE_QUEUE__DRAIN_S=str(drain_s),
        SIGHTLINE_QUEUE__RESCUE_S="0.1",
    )
    command, pipe = [sys.executable, "-c", COURIER], subprocess.PIPE
    with (
        receiver() as there,
        subprocess.Popen(
            command, env=env, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=pipe, text=True
        ) as courier,
    ):
        there.open.clear()
        job = webhooks.answered(Webhook(there.url))
        until(lambda: there.calls)
        assert courier.stdin is not None
        assert courier.stdout is not None
        assert courier.stderr is not None
        courier.stdin.write("stop\n")
        courier.stdin.flush()
        first = courier.stdout.readline()
        if drain_s:
            there.open.set()
        assert (first, courier.stdout.readline()) == ("stopping\n", "closed\n")
        there.open.set()
        cut_off = "made again" in courier.stderr.read()
        assert courier.wait(PATIENCE_S) == 0
    assert ([delivery.taken for delivery in webhooks.tries(job)], cut_off) == (
        ([True], False) if drain_s else ([], True)
    )

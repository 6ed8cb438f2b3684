"""A courier that stops cuts no webhook call short: its job's owner would be called twice."""

import os
import subprocess
import sys

import pytest

from shared.webhooks import Webhook
from tests.support.attempt_harness import WorkerHarness
from tests.support.clients import PATIENCE_S, until
from tests.support.deliverer_harness import SECRET, DelivererHarness
from tests.support.receiver import receiver
from tests.support.redis_server import RedisServer
from tests.support.service import ROOT

COURIER = f"""
import sys, threading
from shared.settings import settings
from worker.courier import Courier
from worker.webhooks import deliverer

def report():
    courier.deliverer._stopping.wait()
    print("stopping", flush=True)

deliverer.STOP_LIMIT_S = {PATIENCE_S}
courier = Courier(1, settings())
courier.open()
threading.Thread(target=report, daemon=True).start()
sys.stdin.readline()
courier.close()
print("closed", flush=True)
"""


@pytest.fixture
def webhooks(redis: RedisServer, harness: WorkerHarness) -> DelivererHarness:
    return DelivererHarness(harness, redis)


def test_a_courier_that_stops_waits_for_a_slow_receiver(
    webhooks: DelivererHarness, redis: RedisServer
) -> None:
    env = dict(
        os.environ,
        SIGHTLINE_REDIS__URL=redis.url(),
        SIGHTLINE_BLOBS__URL=webhooks.harness.settings.blobs.url,
        SIGHTLINE_FETCH__ALLOW="127.0.0.1",
        SIGHTLINE_WEBHOOK__SECRET=SECRET,
        SIGHTLINE_WEBHOOK__LIMIT_S=str(PATIENCE_S),
        SIGHTLINE_QUEUE__RESCUE_S="0.1",
    )
    command = [sys.executable, "-c", COURIER]
    with (
        receiver() as there,
        subprocess.Popen(
            command, env=env, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as courier,
    ):
        there.open.clear()
        job = webhooks.answered(Webhook(there.url))
        until(lambda: there.calls)
        assert courier.stdin is not None
        assert courier.stdout is not None
        courier.stdin.write("stop\n")
        courier.stdin.flush()
        first = courier.stdout.readline()
        there.open.set()
        assert (first, courier.stdout.readline()) == ("stopping\n", "closed\n")
        assert courier.wait(PATIENCE_S) == 0
    assert [delivery.taken for delivery in webhooks.tries(job)] == [True]

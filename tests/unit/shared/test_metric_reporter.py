"""A process tells its own counters at an address of its own, where the settings name one."""

import subprocess
import sys
from contextlib import ExitStack

import httpx
import pytest
from pydantic import ValidationError

from shared.settings import MetricsSettings
from tests.support.metrics import total
from tests.support.patience import PATIENCE_S
from tests.support.ports import free_port
from tests.support.service import ROOT

PROCESS = """
import sys
from shared.metrics.counters import ATTEMPTS
from shared.metrics.reporter import start_reporting
from shared.settings import MetricsSettings
from shared.settings import RedisSettings
from shared.store.script import connect
store = connect(RedisSettings(url="redis://127.0.0.1:1/0"))
start_reporting(MetricsSettings(listen=sys.argv[1]), store)
ATTEMPTS.labels("m", "succeeded").inc()
print("begun", flush=True)
sys.stdin.read()
"""


def begun(stack: ExitStack, address: str) -> "subprocess.Popen[str]":
    """A process that counts one attempt; it ends with the block."""
    process = stack.enter_context(
        subprocess.Popen(
            [sys.executable, "-c", PROCESS, address],
            cwd=ROOT,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
    )
    stack.callback(process.kill)
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    return process


def test_a_process_without_its_store_tells_what_it_did_and_a_second_one_goes_on_without_the_port() -> None:
    address = f"127.0.0.1:{free_port()}"
    with ExitStack() as stack:
        begun(stack, address)
        second = begun(stack, address)
        client = stack.enter_context(httpx.Client(base_url=f"http://{address}", timeout=PATIENCE_S))
        page = client.get("/metrics").text
        assert second.poll() is None
    assert total(page, "sightline_attempts_total", model="m", outcome="succeeded") == 1
    assert total(page, "process_resident_memory_bytes") > 0


@pytest.mark.parametrize(
    "said", [{"token": "short"}, {"listen": "9464"}, {"listen": "host:port"}, {"listen": "0.0.0.0:94640"}]
)
def test_a_setting_that_would_open_or_tell_nothing_is_refused(said: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        MetricsSettings.model_validate(said)

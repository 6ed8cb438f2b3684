"""A process tells what it counts at an address of its own, the first that is free."""

import subprocess
import sys
from contextlib import ExitStack

import httpx
import pytest
from pydantic import ValidationError

from shared.metrics.metric_types import PORTS
from shared.settings import MetricsSettings
from tests.support.metrics import total
from tests.support.patience import PATIENCE_S
from tests.support.ports import free_port
from tests.support.service import ROOT

PROCESS = """
import sys
from shared.metrics.worker_counters import ATTEMPTS
from shared.metrics.metric_types import serve
from shared.settings import MetricsSettings
serve(MetricsSettings(listen=sys.argv[1]), ["m"])
ATTEMPTS.labels("m", "succeeded").inc(int(sys.argv[2]))
print("begun", flush=True)
sys.stdin.read()
"""


def begun(stack: ExitStack, address: str, attempts: int) -> None:
    """A process that has counted attempts; it ends with the block."""
    process = stack.enter_context(
        subprocess.Popen(
            [sys.executable, "-c", PROCESS, address, str(attempts)],
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


def page_at(port: int) -> str:
    """Empty where nobody of ours has the port."""
    try:
        return httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=PATIENCE_S).text
    except httpx.TransportError:
        return ""


def test_two_processes_of_a_machine_tell_each_its_own_counts() -> None:
    port = free_port()
    with ExitStack() as stack:
        for attempts in (1000, 2000):
            begun(stack, f"127.0.0.1:{port}", attempts)
        pages = [page for at in range(port, port + PORTS) if "sightline_" in (page := page_at(at))]
        found = [page for page in pages if total(page, "sightline_attempts_total", model="m") >= 1000]
    assert [total(page, "sightline_attempts_total", outcome="succeeded") for page in found] == [1000, 2000]
    assert all(total(page, "process_resident_memory_bytes") > 0 for page in found)


def test_a_first_failure_is_a_rise_from_0_and_not_from_nothing() -> None:
    port = free_port()
    with ExitStack() as stack:
        begun(stack, f"127.0.0.1:{port}", 1)
        page = page_at(port)
    for series in (
        'sightline_attempts_total{model="m",outcome="retried"}',
        'sightline_wait_seconds_count{model="m"}',
    ):
        assert f"\n{series} 0.0\n" in page
    assert "_created" not in page
    assert "sightline_refusals" not in page, "what another kind of process counts"


@pytest.mark.parametrize(
    "said", [{"token": "short"}, {"listen": "9464"}, {"listen": "host:port"}, {"listen": "0.0.0.0:94640"}]
)
def test_a_setting_that_would_open_or_tell_nothing_is_refused(said: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        MetricsSettings.model_validate(said)

"""`benchmarks.failover` in small: real servers, processes and callers; a primary is lost or handed over."""

import pytest

from benchmarks.chaos import services as chaos_services
from benchmarks.failover import group
from benchmarks.failover.__main__ import run
from benchmarks.frame import services
from tests.support.ports import free_port


@pytest.mark.timeout(400)
def test_nothing_acknowledged_is_lost_doubled_or_torn(monkeypatch: pytest.MonkeyPatch) -> None:
    # None that a caller's connection may have while its server is down.
    for module in (services, chaos_services, group):
        monkeypatch.setattr(module, "free_port", free_port)
    outcome = run("replica", 40.0, print)
    assert outcome.verdict.findings == []
    assert outcome.faults
    assert all(fault.moved_s for fault in outcome.faults)
    assert outcome.webhook_calls

"""`make chaos` in small: the same processes, faults, clients and checker."""

from dataclasses import replace

import pytest

from benchmarks.chaos import services as chaos_services
from benchmarks.chaos.__main__ import run
from benchmarks.chaos.faults import DECK
from benchmarks.chaos.history import Verdict
from benchmarks.chaos.operations import BURST_SHARE
from benchmarks.frame import services
from sightline.serving.server import configuration
from tests.support.ports import free_port

JOBS, PER_S = 288, 12
"""Long enough for every kind of fault once: one strikes each second."""


@pytest.fixture
def steady(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a slow disk or a busy machine costs is not what this test looks for."""

    def written_at_once(port: int, password: str, memory_mb: float) -> str:
        """With `everysec` a kill may take along what came while the disk was busy with an earlier fsync."""
        return configuration(port, password, memory_mb).replace("appendfsync everysec", "appendfsync no")

    monkeypatch.setattr(services, "configuration", written_at_once)
    for kind in DECK:
        monkeypatch.setitem(DECK, kind, 1)
    # None that a caller's connection may have while its server is down.
    monkeypatch.setattr(services, "free_port", free_port)
    monkeypatch.setattr(chaos_services, "free_port", free_port)
    for name in ("FETCH__LIMIT_S", "PICTURES__DECODE_LIMIT_S"):
        monkeypatch.setitem(chaos_services.ENVIRONMENT, f"SIGHTLINE_{name}", "60")


@pytest.mark.usefixtures("steady")
@pytest.mark.timeout(400)
def test_no_process_s_death_loses_doubles_or_strands_a_job_or_tears_a_stream() -> None:
    outcome = run(JOBS, PER_S, print)
    verdict = outcome.verdict
    jobs = JOBS + round(JOBS * BURST_SHARE)
    assert replace(verdict, model_removed=0) == Verdict(jobs=jobs)
    assert {fault.kind for fault in outcome.landed} == set(DECK)

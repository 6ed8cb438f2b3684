"""`make chaos` in small: the same processes, faults, clients and checker."""

import pytest

from benchmarks import server
from benchmarks.chaos import site
from benchmarks.chaos.checker import Verdict
from benchmarks.chaos.plan import DECK
from benchmarks.chaos.run import run
from sightline.serving.server import configuration
from tests.support.ports import free_port

JOBS, PER_S, SEED = 500, 12, 1
"""Long enough for every kind of fault: one strikes each second."""


@pytest.fixture
def steady(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a disk or a machine that stands still costs is no fault of what is looked for here."""

    def written_at_once(port: int, password: str, memory_mb: float | None) -> str:
        """With `everysec` a kill may take along what came while the disk was busy with an earlier fsync."""
        return configuration(port, password, memory_mb).replace("appendfsync everysec", "appendfsync no")

    monkeypatch.setattr(server, "configuration", written_at_once)
    # None that a caller's connection may have while its server is down.
    monkeypatch.setattr(server, "free_port", free_port)
    monkeypatch.setattr(site, "free_port", free_port)
    for name in ("FETCH__LIMIT_S", "PICTURES__DECODE_LIMIT_S"):
        monkeypatch.setitem(site.ENVIRONMENT, f"SIGHTLINE_{name}", "60")


@pytest.mark.usefixtures("steady")
@pytest.mark.timeout(400)
async def test_no_process_s_death_loses_doubles_or_strands_a_job_or_tears_a_stream() -> None:
    outcome = await run(JOBS, PER_S, SEED, print)
    assert outcome.verdict == Verdict(jobs=JOBS)
    assert {fault.kind for fault in outcome.landed} == set(DECK)

"""`make chaos` in small: the same processes, faults, clients and checker."""

import pytest

from benchmarks.chaos.checker import Verdict
from benchmarks.chaos.plan import DECK
from benchmarks.chaos.run import run

JOBS, PER_S, SEED = 500, 12, 1
"""Long enough for every kind of fault: one strikes each second."""


@pytest.mark.timeout(400)
async def test_no_process_s_death_loses_doubles_or_strands_a_job_or_tears_a_stream() -> None:
    outcome = await run(JOBS, PER_S, SEED, print)
    assert outcome.verdict == Verdict(jobs=JOBS)
    assert {fault.kind for fault in outcome.landed} == set(DECK)

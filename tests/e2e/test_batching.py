"""`benchmarks.batching` in small: the real service under the real callers, and the page that comes of it."""

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.batching import plan, servers
from benchmarks.batching.__main__ import picture
from benchmarks.batching.measurement import FIRST, Measuring
from benchmarks.batching.plan import Part, Results
from benchmarks.batching.servers import serving
from benchmarks.frame import report
from benchmarks.frame.usage import Usage
from docs.generate import measured
from tests.support.ports import free_port

SIZE = replace(plan.QUICK, one_by_one_s=1.0, together_s=1.0, clients=(2,), at_once=2)


@pytest.mark.timeout(300)
def test_the_service_is_measured_as_its_callers_see_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # None that a connection may have before its server takes it.
    monkeypatch.setattr(servers, "free_port", free_port)
    # Only figures that are published need a machine at rest between them.
    monkeypatch.setattr(Usage, "wait_for_rest", lambda _: None)
    part = Part("continuous", "tiny", "float32", 1)
    with serving(part, Path()) as served:
        figures = Measuring(part, SIZE, served).all(print)
        assert served.usage.rss_mb() > 100
    point = figures["points"]["2"]
    assert len(set(figures["answers"])) == FIRST
    assert point["answered"] > 0
    assert point["tokens_per_s"] > 0
    assert point["tokens_per_cpu_s"] > 0
    results = Results(tmp_path, report.machine())
    results.add(part, {"date": "2026-01-02", **figures})
    results.save(date="2026-01-02", limits=[])
    report.write(tmp_path, "batching", results.rows, picture(results.rows))
    # A table that each measurement is in: which pictures and turns were reused.
    assert f"| tiny | float32 | {plan.SYSTEMS[part.system]} |" in measured.page(tmp_path)

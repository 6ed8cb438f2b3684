"""The benchmark of preparing blames a worker only for what its cores could have done."""

from dataclasses import replace

from benchmarks.preparing.__main__ import LARGE, Result, bounds, parts, ratios

FIGURES = {"per_s": 10.0, "waits": 0.2, "cpu_s": 0.05, "urgent_p50": 0.5, "allows": 20.0}


def result(cores: int = 2, **changes: float) -> Result:
    part = replace(parts(quick=True)[0][0], cores=cores)
    before = FIGURES | {"per_s": 5.0, "urgent_p50": 1.0}
    return Result(part, [FIGURES | changes], [before])


def waits(found: Result) -> list[bool]:
    return [bound.met for bound in bounds([found]) if "waits" in bound.name]


def test_a_device_that_waits_is_a_miss_where_the_cores_had_time() -> None:
    assert waits(result()) == [False]
    assert waits(result(waits=0.01)) == [True]
    assert waits(result(cores=1)) == []


def test_a_gain_is_compared_with_what_large_pages_are_to_gain() -> None:
    [ratio] = ratios([result()])
    assert (ratio.value, ratio.at_least, ratio.met) == (2.0, 2.0, True)
    assert ratios([result(cores=1)]) == []


def test_all_sizes_and_cores_are_measured_unless_it_is_to_be_quick() -> None:
    assert {part.size for some in parts(quick=True) for part in some} == {LARGE}
    every = {(part.family, part.size, part.cores) for some in parts(quick=False) for part in some}
    assert len(every) == 4 * len(parts(quick=True))
    assert all(len({(part.family, part.cores) for part in some}) == 1 for some in parts(quick=False))

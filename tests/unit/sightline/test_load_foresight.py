"""When a load begins, as callers of cold models are told: behind all who load, leave or wait before them."""

from typing import Any, Literal

import pytest

from sightline.serving.demand import Copy, Demand, Device
from sightline.serving.residency import Residency

CPU = [Device("cpu", 1.0)]
"""Room for one."""
LOAD_S, UNLOAD_S, MIN_RESIDENT_S = 4.0, 1.0, 5.0


def demand(lane: str, **more: Any) -> Demand:
    return Demand(lane, need=1.0, load_s=LOAD_S, unload_s=UNLOAD_S, devices=("cpu",), **more)


def standing(lane: str, state: Literal["loading", "resident", "leaving"], since_s: float) -> Demand:
    return demand(lane, copies=(Copy("cpu", state, since_s),))


def foreseen(now_s: float, *demands: Demand) -> dict[str, float]:
    residency = Residency(MIN_RESIDENT_S)
    residency.decide(now_s, CPU, demands)
    return {one.lane: residency.load_in_s(one.lane) for one in demands}


@pytest.mark.parametrize(
    ("other", "begins_s"),
    [
        (standing("other", "resident", 0.0), MIN_RESIDENT_S - 3 + UNLOAD_S),
        (standing("other", "loading", 0.0), LOAD_S - 3 + MIN_RESIDENT_S + UNLOAD_S),
        (standing("other", "leaving", 2.5), UNLOAD_S - 0.5),
    ],
)
def test_who_stands_in_the_way_is_gone_after_its_time(other: Demand, begins_s: float) -> None:
    assert foreseen(3.0, other, demand("asked", waiting=2.0, oldest_s=0.0))["asked"] == pytest.approx(
        begins_s
    )


def test_one_that_leaves_is_told_when_it_comes_back() -> None:
    assert foreseen(2.5, standing("asked", "leaving", 2.0))["asked"] == pytest.approx(UNLOAD_S - 0.5)


def test_who_waits_behind_another_waits_for_its_load_and_until_it_may_leave() -> None:
    first, second = (
        demand(lane, waiting=2.0, oldest_s=age) for lane, age in (("first", 2.0), ("second", 1.0))
    )
    seen = foreseen(10.0, first, second, standing("other", "leaving", 9.5))
    assert seen["first"] == pytest.approx(0.5)
    assert seen["second"] == pytest.approx(0.5 + LOAD_S + MIN_RESIDENT_S + UNLOAD_S)


def test_who_finds_room_is_told_of_no_wait_for_it() -> None:
    assert foreseen(0.0, demand("asked", waiting=2.0)) == {"asked": 0.0}

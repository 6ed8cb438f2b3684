"""The policy of residency: who is loaded, who leaves, and when; a clock is handed in."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from sightline.serving.demand import Copy, Demand, Device, smoothed, weigh
from sightline.serving.residency import QUIET_S, Load, Move, Residency, Unload

GB = 1e9
LOAD_S, UNLOAD_S, STAY_S, LATE_S = 4.0, 1.0, 5.0, 60.0


def model(lane: str, **more: Any) -> Demand:
    facts: dict[str, Any] = {
        "need": 8 * GB,
        "load_s": LOAD_S,
        "unload_s": UNLOAD_S,
        "devices": ("gpu",),
    } | more
    return Demand(lane=lane, **facts)


@dataclass
class Clock:
    """Devices of a machine on which moves take their time; `waits` is since when callers of a lane wait."""

    rooms: Mapping[str, float] = field(default_factory=lambda: {"gpu": 10 * GB})
    models: dict[str, Demand] = field(default_factory=dict)
    waits: dict[str, float] = field(default_factory=dict)
    now_s: float = 1000.0
    reasons: list[str] = field(default_factory=list)
    residency: Residency = field(default_factory=lambda: Residency(STAY_S, LATE_S))

    def add(self, *models: Demand) -> None:
        self.models |= {one.lane: one for one in models}

    def call(self, lane: str, **facts: Any) -> None:
        self.waits[lane] = self.now_s
        self.models[lane] = replace(self.models[lane], **({"waiting": 2.0} | facts))

    def answer(self, lane: str) -> None:
        del self.waits[lane]
        self.models[lane] = replace(self.models[lane], waiting=0.0)

    def look(self, passed_s: float = 0.25) -> Sequence[Move]:
        self.now_s += passed_s
        for lane, one in self.models.items():
            oldest_s = self.now_s - self.waits[lane] if lane in self.waits else 0.0
            idle_s = 0.0 if lane in self.waits else one.idle_s + passed_s
            self.models[lane] = replace(one, oldest_s=oldest_s, idle_s=idle_s, copies=tuple(self._aged(one)))
        devices = [Device(name, room) for name, room in self.rooms.items()]
        moves = self.residency.decide(self.now_s, devices, list(self.models.values()))
        for move in moves:
            one = self.models[move.lane]
            if isinstance(move, Load):
                copies = (*one.copies, Copy(move.device, "loading", self.now_s))
            else:
                self.reasons.append(move.reason)
                copies = tuple(
                    replace(copy, state="leaving", since_s=self.now_s) if copy.device == move.device else copy
                    for copy in one.copies
                )
            self.models[move.lane] = replace(one, copies=copies)
        return moves

    def _aged(self, one: Demand) -> Sequence[Copy]:
        aged = []
        for copy in one.copies:
            passed_s = self.now_s - copy.since_s
            if copy.state == "loading" and passed_s >= one.load_s:
                aged.append(replace(copy, state="resident", since_s=self.now_s))
            elif copy.state != "leaving" or passed_s < one.unload_s:
                aged.append(copy)
        return aged

    def stands(self, lane: str) -> bool:
        return any(copy.state == "resident" for copy in self.models[lane].copies)

    def until_stands(self, lane: str, limit_s: float) -> float:
        """Seconds until it does."""
        began_s = self.now_s
        while not self.stands(lane):
            self.look()
            assert self.now_s - began_s <= limit_s, f"{lane} does not stand after {limit_s} s"
        return self.now_s - began_s

    def pass_by(self, seconds: float) -> None:
        for _ in range(round(seconds * 4)):
            self.look()


def standing(*models: Demand, **more: Any) -> Clock:
    """They are loaded, and have been for long."""
    clock = Clock(**more)
    clock.add(*models)
    for one in models:
        clock.until_stands(one.lane, 100)
    clock.pass_by(2 * STAY_S)
    return clock


def test_what_has_room_is_loaded_at_the_start_in_the_catalogue_s_order_and_nobody_leaves_for_it() -> None:
    clock = Clock()
    clock.add(model("a"), model("b"))
    assert clock.look() == [Load("a", "gpu")]
    clock.pass_by(60)
    assert (clock.stands("a"), clock.stands("b")) == (True, False)


def test_who_is_asked_for_is_loaded_at_once_where_there_is_room() -> None:
    clock = Clock()
    clock.add(model("a", keep_alive_s=9.0))
    clock.pass_by(10)
    assert not clock.models["a"].copies, "nobody has asked"
    clock.call("a")
    assert clock.look() == [Load("a", "gpu")]


def test_an_idle_model_leaves_for_one_that_is_asked_for_and_says_for_whom() -> None:
    clock = standing(model("a"), rooms={"gpu": 10 * GB})
    clock.add(model("b", model="org/b"))
    clock.call("b")
    assert clock.until_stands("b", 8) < 2 + UNLOAD_S + LOAD_S
    assert clock.reasons == ["its room was needed for org/b"]


def test_who_was_just_loaded_stays_for_a_while() -> None:
    clock = Clock()
    clock.add(model("a"), model("b"))
    clock.call("a")
    clock.until_stands("a", 9)
    clock.answer("a")
    clock.call("b")
    clock.pass_by(STAY_S - 1)
    assert clock.stands("a")
    clock.until_stands("b", 12)


def test_a_busy_model_is_not_swapped_out_for_every_call_of_another() -> None:
    """Its callers would wait for its way out and back: the other's gather, and one swap serves them."""
    clock = standing(model("a"))
    clock.add(model("b"))
    clock.models["a"] = replace(clock.models["a"], asked_per_s=8.0)
    clock.call("a", waiting=8.0)
    clock.call("b")
    clock.pass_by(10)
    assert clock.stands("a")


def test_a_long_computation_is_not_thrown_away_for_a_call_of_another() -> None:
    clock = standing(model("a", drains=False))
    (copy,) = clock.models["a"].copies
    clock.models["a"] = replace(clock.models["a"], copies=(replace(copy, busy=1, since_s=clock.now_s),))
    clock.add(model("b"))
    clock.call("b")
    clock.pass_by(LATE_S - 1)
    assert clock.stands("a")
    clock.until_stands("b", 20)


def test_nobody_waits_for_ever_beside_a_busy_model() -> None:
    clock = standing(model("a"))
    clock.add(model("b"))
    clock.models["a"] = replace(clock.models["a"], asked_per_s=1000.0)
    clock.call("a", waiting=1000.0)
    clock.call("b")
    clock.until_stands("b", LATE_S + UNLOAD_S + LOAD_S + 2 * LATE_S)


def test_where_all_have_callers_in_line_most_of_the_time_goes_into_work() -> None:
    """Else three batches on a device for one would be swapped as soon as each may leave."""
    clock = Clock()
    clock.add(*(model(lane) for lane in "abc"))
    for lane in "abc":
        clock.call(lane, waiting=16.0, cost_s=1000.0)
    began_s, loads = clock.now_s, 0
    while clock.now_s - began_s < 600:
        loads += sum(isinstance(move, Load) for move in clock.look())
    assert 20 <= loads <= 1 + 600 / (4 * LOAD_S + UNLOAD_S + LOAD_S)
    assert {one.lane for one in clock.models.values() if one.waiting} == {*"abc"}


def test_a_model_in_demand_does_not_leave_only_since_an_idle_one_may_not_yet() -> None:
    clock = standing(model("hot", need=4 * GB), model("idle", need=5 * GB))
    clock.models["hot"] = replace(clock.models["hot"], asked_per_s=20.0)
    (copy,) = clock.models["idle"].copies
    clock.models["idle"] = replace(clock.models["idle"], copies=(replace(copy, since_s=clock.now_s),))
    clock.add(model("new", need=4 * GB))
    clock.call("hot")
    clock.call("new", waiting=40.0)
    clock.until_stands("new", 20)
    assert (clock.stands("hot"), clock.stands("idle")) == (True, False)


def test_a_further_copy_comes_after_models_that_do_not_stand_at_all() -> None:
    clock = Clock(rooms={"gpu": 10 * GB, "gpu2": 10 * GB})
    both = ("gpu", "gpu2")
    clock.add(model("hot", devices=both), model("idle", devices=both))
    clock.until_stands("hot", 9)
    clock.until_stands("idle", 9)
    clock.pass_by(2 * STAY_S)
    clock.add(model("cold", devices=both))
    clock.call("hot", waiting=8.0, cost_s=10 * LOAD_S)
    clock.call("cold")
    clock.until_stands("cold", 20)
    assert clock.stands("hot")


def test_a_model_for_a_whole_device_is_not_kept_out_by_small_ones_that_come_and_go() -> None:
    clock = Clock()
    clock.add(model("whole", need=10 * GB), *(model(f"small{n}", need=4 * GB) for n in range(4)))
    clock.until_stands("whole", 9)
    for n in range(4):
        clock.call(f"small{n}")
    clock.until_stands("small0", LATE_S)
    clock.call("whole")
    began_s = clock.now_s
    while not clock.stands("whole"):
        clock.look()
        for lane in [lane for lane in clock.waits if lane != "whole" and clock.stands(lane)]:
            clock.answer(lane)
            clock.call(lane)
        assert clock.now_s - began_s < LATE_S + 4 * LOAD_S + STAY_S + UNLOAD_S + LOAD_S


def test_a_model_that_always_stands_never_leaves() -> None:
    clock = standing(model("a", always=True))
    clock.add(model("b"))
    clock.call("b", waiting=1000.0)
    clock.pass_by(3 * LATE_S)
    assert clock.stands("a")
    assert clock.residency.reason("b") == "it needs 8.0 GB; beside what always stays gpu has 2.0"
    assert clock.residency.reason("a") == ""


def test_a_model_that_nobody_asks_for_leaves_after_its_time_and_none_that_computes() -> None:
    clock = Clock()
    clock.add(model("a", keep_alive_s=0.0))
    clock.call("a")
    clock.until_stands("a", 9)
    clock.pass_by(2 * STAY_S)
    assert clock.stands("a"), "somebody still waits"
    clock.answer("a")
    clock.pass_by(1)
    assert clock.reasons == ["nobody asked for it for 0 s"]


def test_what_another_machine_serves_is_not_loaded_too_but_what_is_asked_for_most() -> None:
    clock = Clock()
    clock.add(model("a", elsewhere=1))
    clock.call("a", cost_s=LOAD_S / 2)
    clock.pass_by(10)
    assert not clock.models["a"].copies
    clock.call("a", cost_s=10 * LOAD_S)
    clock.until_stands("a", 20)


def test_a_model_that_spans_devices_waits_for_all_of_them() -> None:
    rooms = {"gpu": 10 * GB, "gpu2": 10 * GB}
    both = ("gpu", "gpu2")
    clock = standing(model("a", devices=both), model("b", devices=both), rooms=rooms)
    clock.add(model("wide", need=16 * GB, devices=both, spans=True))
    clock.call("wide")
    clock.until_stands("wide", LATE_S + 20)
    (copy,) = clock.models["wide"].copies
    assert copy.device == "gpu,gpu2"
    assert [clock.stands(lane) for lane in "ab"] == [False, False]


def test_several_workers_of_a_model_stand_on_one_device_where_that_was_asked_for() -> None:
    clock = Clock(rooms={"gpu": 20 * GB})
    clock.add(model("a", copies_wanted=2), model("b"))
    clock.pass_by(4 * LOAD_S)
    assert [len(clock.models[lane].copies) for lane in "ab"] == [2, 0]


def test_a_load_that_failed_is_not_tried_before_its_time() -> None:
    clock = Clock()
    clock.add(model("a", retry_at_s=1030.0))
    clock.call("a")
    clock.pass_by(29)
    assert not clock.models["a"].copies
    clock.pass_by(2)
    assert clock.models["a"].copies


def test_a_model_that_failed_makes_none_leave_that_is_asked_for() -> None:
    """Whatever its row says, and whoever waits for it."""
    clock = standing(model("a"))
    clock.add(model("broken", failed=True, always=True))
    clock.call("broken", waiting=1000.0)
    for _ in range(3):
        clock.call("a")
        clock.pass_by(2 * LATE_S)
        clock.answer("a")
        clock.pass_by(QUIET_S - 1)
    assert clock.stands("a")
    clock.pass_by(2 * STAY_S)
    assert clock.models["broken"].copies, "nobody asks for the other any more"


def test_another_try_of_a_model_that_failed_leaves_for_callers() -> None:
    clock = Clock()
    clock.add(model("broken", failed=True, always=True, load_s=1000.0), model("a", keep_alive_s=9.0))
    assert clock.look() == [Load("broken", "gpu")], "the room is free"
    clock.call("a")
    clock.look()
    assert clock.residency.reason("a") == ""
    assert clock.until_stands("a", 9) < 1 + UNLOAD_S + LOAD_S


def test_it_is_foreseen_when_a_load_begins() -> None:
    clock = standing(model("a"))
    clock.add(model("b"))
    clock.look()
    idle_s = clock.residency.load_in_s("b")
    assert UNLOAD_S <= idle_s < 5
    clock.call("b")
    told_s, began_s = clock.residency.load_in_s("b"), clock.now_s
    while not clock.models["b"].copies:
        clock.look()
    assert abs(clock.now_s - began_s - told_s) < 3


def test_a_flood_of_one_class_buys_no_more_room_than_a_copy_can_serve() -> None:
    assert weigh({"interactive": 1, "normal": 1, "batch": 1}, 4) == 7
    assert weigh({"batch": 1000}, 4) == weigh({"batch": 4}, 4)


def test_what_was_asked_for_long_ago_counts_little() -> None:
    per_s = smoothed(0.0, 30.0, 10.0)
    assert 0 < smoothed(per_s, 0.0, 3600.0) < per_s / 10


CALLS = st.lists(st.tuples(st.sampled_from("abcd"), st.integers(1, 40)), min_size=1, max_size=25)


@settings(deadline=None, max_examples=60)
@given(CALLS)
def test_room_is_never_exceeded_and_whoever_waits_is_served(calls: list[tuple[str, int]]) -> None:
    """Whatever is asked for, and in which order; calls are answered once their model stands."""
    needs = {"a": 8.0, "b": 5.0, "c": 4.0, "d": 3.0}
    clock = Clock()
    clock.add(*(model(lane, need=need * GB) for lane, need in needs.items()))
    for lane, steps in calls:
        if lane not in clock.waits:
            clock.call(lane)
        for _ in range(steps):
            moves = clock.look()
            taken = sum(one.need * len(one.copies) for one in clock.models.values())
            assert taken <= 10 * GB
            assert all(isinstance(move, Load | Unload) for move in moves)
            for waiting in [one for one in clock.waits if clock.stands(one)]:
                clock.answer(waiting)
            late_s = max((clock.now_s - since for since in clock.waits.values()), default=0.0)
            assert late_s <= LATE_S + len(needs) * (STAY_S + LOAD_S + UNLOAD_S)

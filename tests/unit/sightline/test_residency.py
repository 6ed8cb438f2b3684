"""The policy of residency: which model is loaded next, which one leaves, and when; a clock is handed in."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sightline.serving.demand import Copy, Demand, Device
from sightline.serving.load_forecast import begins_in_s, unfit
from sightline.serving.residency import CROWDED_S, QUIET_S, Load, Look, Move, Rules, Unload, decide

LOAD_S, UNLOAD_S, STAY_S, LATE_S = 4.0, 1.0, 5.0, 60.0
NOW_S = 1000.0
RULES = Rules(STAY_S, LATE_S)
BOTH = ("gpu", "gpu2")


def model(lane: str, **more: Any) -> Demand:
    facts: dict[str, Any] = {"need": 8.0, "load_s": LOAD_S, "unload_s": UNLOAD_S, "devices": ("gpu",)}
    facts |= {"idle_s": 0.0 if "waits_s" in more else 900.0} | more
    return Demand(lane=lane, **facts)


def loaded(lane: str, device: str = "gpu", since_s: float = 0.0, busy: int = 0, **more: Any) -> Demand:
    return model(lane, copies=(Copy(device, "resident", since_s, busy),), **more)


def in_state(lane: str, state: Literal["loading", "leaving"], since_s: float, **more: Any) -> Demand:
    return model(lane, copies=(Copy("gpu", state, since_s),), **more)


def devices(*rooms: float) -> list[Device]:
    return [Device(name, room) for name, room in zip(BOTH, rooms, strict=False)]


def moves(*demands: Demand, rooms: Sequence[float] = (10.0,)) -> list[str]:
    """Return "+a gpu" for a load of `a`, "-a gpu" for an unloading."""
    decided = decide(NOW_S, devices(*rooms), demands, RULES)
    return [f"{'+' if isinstance(it, Load) else '-'}{it.lane} {it.device}" for it in decided]


ASKED: dict[str, Any] = {"waits_s": 1.0}
SINCE_LATE: dict[str, Any] = {"waits_s": LATE_S}
BUSY: dict[str, Any] = {"busy": 1, "waits_s": 1.0}
A_B: dict[str, Any] = {"devices": BOTH}


@pytest.mark.parametrize(
    ("demands", "expected"),
    [
        pytest.param([model("a"), model("b")], ["+a gpu"], id="free room is used before anybody asks"),
        pytest.param([model("a", keep_alive_s=9.0)], [], id="keep_alive_s: not before anybody asks"),
        pytest.param([model("a", keep_alive_s=9.0, **ASKED)], ["+a gpu"], id="asked for"),
        pytest.param([loaded("a"), model("b", **ASKED)], ["-a gpu"], id="an idle model leaves"),
        pytest.param([model("a", **ASKED), model("b", waits_s=2.0)], ["+b gpu"], id="the longest wait first"),
        pytest.param([loaded("a", since_s=NOW_S - 4), model("b", **ASKED)], [], id="min_resident_s"),
        pytest.param([loaded("a", **BUSY), model("b", **ASKED)], [], id="a model with work stays"),
        pytest.param([loaded("a", **BUSY), model("b", **SINCE_LATE)], ["-a gpu"], id="max_wait_s"),
        pytest.param(
            [loaded("a", since_s=NOW_S - 15, **BUSY), model("b", **SINCE_LATE)], [], id="it worked too little"
        ),
        pytest.param(
            [loaded("a", since_s=NOW_S - 59, drains=False, **BUSY), model("b", **SINCE_LATE)],
            [],
            id="what would begin anew may end",
        ),
        pytest.param(
            [loaded("a", drains=False, **BUSY), model("b", **SINCE_LATE)], ["-a gpu"], id="not for ever"
        ),
        pytest.param([loaded("a", always=True), model("b", **SINCE_LATE)], [], id="a pinned model stays"),
        pytest.param([loaded("a", **ASKED), model("b", always=True)], ["-a gpu"], id="a pinned model comes"),
        pytest.param([model("a", always=True, unloaded=True)], [], id="unloaded by hand"),
        pytest.param([model("a", unloaded=True, failed=True)], [], id="unloaded by hand, failed before"),
        pytest.param([model("a", unloaded=True, **ASKED)], ["+a gpu"], id="unloaded, and asked for again"),
        pytest.param([loaded("a", keep_alive_s=800.0)], ["-a gpu"], id="keep_alive_s is over"),
        pytest.param([loaded("a", keep_alive_s=0.0, **ASKED)], [], id="keep_alive_s, somebody waits"),
        pytest.param([loaded("a", busy=1, keep_alive_s=0.0)], [], id="keep_alive_s, it computes"),
        pytest.param([model("a", retry_at_s=NOW_S + 1, **ASKED)], [], id="the pause after a failed load"),
        pytest.param([model("a", failed=True)], ["+a gpu"], id="another try in free room"),
        pytest.param(
            [loaded("a", idle_s=QUIET_S - 1), model("b", failed=True, always=True, **SINCE_LATE)],
            [],
            id="a failed model makes none leave",
        ),
        pytest.param([loaded("a"), model("b", failed=True)], ["-a gpu"], id="but when all is quiet"),
        pytest.param(
            [in_state("a", "loading", NOW_S, failed=True, always=True), model("b", **ASKED)],
            ["-a gpu"],
            id="another try leaves for others",
        ),
        pytest.param(
            [loaded("a", **BUSY), model("b", retry_at_s=NOW_S, **SINCE_LATE)],
            [],
            id="a lost load is not late",
        ),
        pytest.param([in_state("a", "leaving", NOW_S), model("b", **ASKED)], [], id="room is on its way"),
        pytest.param(
            [in_state("a", "loading", NOW_S, need=1.0), model("b", need=1.0, **ASKED)],
            [],
            id="one load at a time",
        ),
    ],
)
def test_one_device_is_shared_by_the_plain_rule(demands: list[Demand], expected: list[str]) -> None:
    assert moves(*demands) == expected


@pytest.mark.parametrize(
    ("demands", "expected"),
    [
        pytest.param(
            [loaded("a", "gpu", idle_s=5.0), loaded("b", "gpu2", idle_s=9.0), model("c", **ASKED, **A_B)],
            ["-b gpu2"],
            id="the least recently used leaves",
        ),
        pytest.param(
            [loaded("a"), model("b", **ASKED, **A_B)],
            ["+b gpu2"],
            id="none leaves while another device is free",
        ),
        pytest.param(
            [loaded("a", waits_s=CROWDED_S + 1, **A_B)], ["+a gpu2"], id="a further copy after long waits"
        ),
        pytest.param([loaded("a", waits_s=CROWDED_S - 0.5, **A_B)], [], id="no further copy before"),
        pytest.param(
            [loaded("a", waits_s=9.0, **A_B), loaded("b", "gpu2", idle_s=LATE_S - 1)],
            [],
            id="no further copy in place of a model in use",
        ),
        pytest.param(
            [
                loaded("a", waits_s=9.0, **A_B),
                model("b", need=20.0, waits_s=1.0, devices=("gpu2",)),
                model("c"),
            ],
            ["+a gpu2"],
            id="a model without room holds up nobody",
        ),
        pytest.param(
            [loaded("a", elsewhere=1, **BUSY), model("b", **ASKED)],
            ["-a gpu"],
            id="a further copy leaves first",
        ),
        pytest.param([model("a", elsewhere=1, waits_s=CROWDED_S - 0.5)], [], id="another machine serves it"),
        pytest.param([model("a", elsewhere=1, waits_s=CROWDED_S + 1)], ["+a gpu"], id="it has too much work"),
        pytest.param(
            [loaded("a"), loaded("b", "gpu2"), model("c", need=16.0, spans=True, **ASKED, **A_B)],
            ["-a gpu", "-b gpu2"],
            id="a model over two devices",
        ),
        pytest.param([model("a", copies_wanted=2, **A_B)], ["+a gpu"], id="one copy after the other"),
        pytest.param([loaded("a", copies_wanted=2, **A_B)], ["+a gpu2"], id="as many copies as are wanted"),
    ],
)
def test_two_devices_are_shared_by_the_plain_rule(demands: list[Demand], expected: list[str]) -> None:
    assert moves(*demands, rooms=(10.0, 10.0)) == expected


def test_a_small_model_stays_if_a_large_one_leaves_anyway() -> None:
    small, large = loaded("small", need=1.0, idle_s=99.0), loaded("large", need=8.0, idle_s=9.0)
    assert moves(small, large, model("new", need=9.0, **ASKED)) == ["-large gpu"]


def test_why_a_model_has_no_room_names_what_always_stays() -> None:
    pinned, new = loaded("a", always=True, need=8e9), model("b", need=8e9)
    look = Look(NOW_S, devices(10e9), [pinned, new], RULES)
    assert unfit(look, new) == "it needs 8.0 GB; beside what always stays gpu has 2.0"
    assert unfit(look, pinned) == ""


@pytest.mark.parametrize(
    ("others", "begins_s"),
    [
        ([], 0.0),
        ([loaded("a", since_s=NOW_S - 3)], STAY_S - 3 + UNLOAD_S),
        ([in_state("a", "loading", NOW_S - 3)], LOAD_S - 3 + STAY_S + UNLOAD_S),
        ([in_state("a", "leaving", NOW_S - 0.5)], UNLOAD_S - 0.5),
        ([loaded("a", **BUSY, idle_s=0.0)], LATE_S - 1 + UNLOAD_S),
        ([model("a", waits_s=2.0)], LOAD_S + STAY_S + UNLOAD_S),
    ],
)
def test_callers_are_told_when_a_load_begins(others: list[Demand], begins_s: float) -> None:
    asked = model("asked", **ASKED)
    look = Look(NOW_S, devices(10.0), [*others, asked], RULES)
    assert begins_in_s(look, [*others, asked], asked) == pytest.approx(begins_s)


@dataclass
class Clock:
    """A device on which moves take their time; `waits` is since when requests of a model wait."""

    models: dict[str, Demand]
    waits: dict[str, float] = field(default_factory=dict)
    served: dict[str, float] = field(default_factory=dict)
    now_s: float = NOW_S

    def look(self, passed_s: float = 0.25) -> Sequence[Move]:
        self.now_s += passed_s
        for lane, one in self.models.items():
            since = self.waits.get(lane, 0.0)
            if self.stands(lane):
                self.served[lane] = self.now_s
            else:
                since = max(since, self.served.get(lane, 0.0))
            waits_s = self.now_s - since if lane in self.waits else None
            idle_s = 0.0 if lane in self.waits else one.idle_s + passed_s
            aged = filter(None, (self._aged(one, copy) for copy in one.copies))
            self.models[lane] = replace(one, waits_s=waits_s, idle_s=idle_s, copies=tuple(aged))
        decided = decide(self.now_s, devices(10.0), list(self.models.values()), RULES)
        for move in decided:
            one = self.models[move.lane]
            left = tuple(replace(copy, state="leaving", since_s=self.now_s) for copy in one.copies)
            new = Copy(move.device, "loading", self.now_s)
            copies = (*one.copies, new) if isinstance(move, Load) else left
            self.models[move.lane] = replace(one, copies=copies)
        return decided

    def _aged(self, one: Demand, copy: Copy) -> Copy | None:
        passed_s = self.now_s - copy.since_s
        if copy.state == "leaving" and passed_s >= one.unload_s:
            return None
        done = copy.state == "loading" and passed_s >= one.load_s and not one.failed
        return replace(copy, state="resident", since_s=self.now_s) if done else copy

    def stands(self, lane: str) -> bool:
        return any(copy.state == "resident" for copy in self.models[lane].copies)


NEEDS = {"a": 8.0, "b": 5.0, "c": 4.0, "d": 3.0}
CALLS = st.lists(st.tuples(st.sampled_from("abcd"), st.integers(1, 40)), min_size=1, max_size=25)


@settings(deadline=None, max_examples=60)
@given(CALLS)
def test_no_request_waits_for_ever_and_room_is_kept(calls: list[tuple[str, int]]) -> None:
    """Whatever is asked for, beside a pinned model and one that cannot be loaded."""
    pinned = replace(loaded("pinned", need=1.0), always=True)
    clock = Clock({lane: model(lane, need=need) for lane, need in NEEDS.items()})
    clock.models |= {"pinned": pinned, "broken": model("broken", need=9.0, failed=True, load_s=1e9)}
    clock.waits["broken"] = clock.now_s
    for lane, steps in calls:
        clock.waits.setdefault(lane, clock.now_s)
        for _ in range(steps):
            used = {lane for lane in clock.models if clock.stands(lane) and lane in clock.waits}
            for move in clock.look():
                assert isinstance(move, Load) or (move.lane != "pinned" and "broken" not in move.reason)
                late = any(clock.now_s - since >= LATE_S for since in clock.waits.values())
                assert isinstance(move, Load) or move.lane not in used or late
            assert sum(one.need * len(one.copies) for one in clock.models.values()) <= 10.0
            for waiting in [one for one in clock.waits if clock.stands(one)]:
                del clock.waits[waiting]
            waits_s = [clock.now_s - since for one, since in clock.waits.items() if one != "broken"]
            assert max(waits_s, default=0.0) <= LATE_S + len(NEEDS) * (STAY_S + LOAD_S + UNLOAD_S)


def test_three_models_with_endless_work_take_turns_and_mostly_work() -> None:
    clock = Clock({lane: model(lane) for lane in "abc"}, dict.fromkeys("abc", 0.0))
    loads = [move.lane for _ in range(4 * 600) for move in clock.look() if isinstance(move, Load)]
    assert 20 <= len(loads) <= 1 + 600 / (4 * LOAD_S + UNLOAD_S + LOAD_S)
    assert {*loads} == {*"abc"}


def test_a_large_model_finds_room_beside_small_ones_that_come_and_go() -> None:
    small = {f"small{n}": model(f"small{n}", need=4.0) for n in range(4)}
    clock = Clock(small | {"whole": model("whole", need=10.0)}, dict.fromkeys(small, NOW_S))
    while not any(clock.stands(lane) for lane in small):
        clock.look()
    clock.waits["whole"] = began_s = clock.now_s
    turn_s = 4 * LOAD_S + UNLOAD_S + LOAD_S
    while not clock.stands("whole"):
        clock.look()
        clock.waits |= {lane: clock.now_s for lane in small if clock.stands(lane)}
        assert clock.now_s - began_s < LATE_S + 2 * turn_s, "the small ones came first"


def test_a_move_says_for_which_model_room_is_made() -> None:
    (move,) = decide(NOW_S, devices(10.0), [loaded("a"), model("b", model="org/b", **ASKED)], RULES)
    assert move == Unload("a", "gpu", "its room was needed for org/b")

"""How rows, prompts and memory are shared out: the line, passes over prompts, their pace, and limits."""

from dataclasses import dataclass
from itertools import count
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from worker.engines.continuous import token_budget
from worker.engines.continuous.adaptive_limit import MOST_PATIENCE, PATIENCE, AdaptiveLimit
from worker.engines.continuous.prefill_queue import PrefillQueue
from worker.engines.continuous.scheduler import WaitingQueue
from worker.engines.continuous.token_budget import (
    FIRST,
    SMALLEST,
    BatchCapacity,
    PassLimits,
    PrefillPace,
    cache_budget,
    cache_tokens,
)


@dataclass(eq=False)
class Plain:
    """Stands for an answer."""

    apart: bool = False


class Planned:
    """Stands for a prompt of which `done` of `length` tokens are computed."""

    def __init__(self, length: int, done: int = 0, *, mixes: bool = True, whole: bool = False) -> None:
        """A `whole` one may be cut nowhere."""
        self.length, self.done, self.mixes, self.whole = length, done, mixes, whole

    def end(self, tokens: int | None) -> int:
        return self.length if tokens is None or self.whole else min(self.length, self.done + tokens)

    def joins(self, other: "Planned") -> bool:
        return self.mixes and other.mixes


def queue(*prompts: Planned, grain: int = 1, apart: bool = False) -> PrefillQueue:
    made = PrefillQueue(4, grain=grain)
    for prompt in prompts:
        made.add(Plain(apart), prompt)  # type: ignore[arg-type]
    return made


@pytest.mark.parametrize(
    ("limits", "waiting", "chosen"),
    [
        (PassLimits(tokens=300, idle=100), [80, 70, 90, 60], [0, 1, 2]),
        (PassLimits(tokens=300, idle=100), [400, 70], [0]),
        (PassLimits(tokens=1000, idle=30), [80, 20, 75], [0, 2]),
        (PassLimits(tokens=100, idle=100, chunk=100), [30, 400, 25, 30], [0, 1]),
        (PassLimits(tokens=100, idle=10, chunk=100), [30, 400, 25, 30], [0, 2, 3]),
        (PassLimits(tokens=100, idle=100, chunk=100), [60, 400, 25, 30], [0]),
        (PassLimits(tokens=1000, idle=100), [80, (700, 640), 80], [0, 2]),
        (PassLimits(tokens=1000, idle=100), [80, None, 80], [0, 2]),
        (PassLimits(tokens=1000, idle=100), [None, 80], [0]),
        (PassLimits(tokens=1000, idle=100), [10, 10, 10, 10, 10, 10], [0, 1, 2, 3]),
    ],
)
def test_a_pass_holds_what_is_alike_and_the_first_in_any_case(
    limits: PassLimits, waiting: list[Any], chosen: list[int]
) -> None:
    prompts = [
        Planned(*told) if isinstance(told, tuple) else Planned(told or 50, mixes=bool(told))
        for told in waiting
    ]
    found = queue(*prompts).next(limits).sequences
    assert [prompts.index(one.prefill) for one in found] == chosen  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("tokens", "waiting", "ends"),
    [
        (100, [Planned(400), Planned(70)], [100]),
        (100, [Planned(80), Planned(70), Planned(90)], [80, 20]),
        (100, [Planned(400, 350), Planned(90, 30), Planned(10)], [400, 80]),
        (100, [Planned(80), Planned(50, mixes=False), Planned(20)], [80]),
        (100, [Planned(50, mixes=False), Planned(20)], []),
        (100, [Planned(80), Planned(400, whole=True), Planned(10)], [80]),
        (100, [Planned(400, whole=True), Planned(10)], [400]),
        (0, [Planned(400)], [1]),
    ],
)
def test_a_step_takes_along_the_first_and_what_there_is_room_for(
    tokens: int, waiting: list[Planned], ends: list[int]
) -> None:
    assert [chunk.end for chunk in queue(*waiting).chunks(tokens, 5)] == ends
    assert queue(*waiting, apart=True).chunks(tokens, 5) == [], "it broke a pass"


def test_passes_that_memory_ran_out_in_are_as_wide_and_as_long_again_once_it_has_lasted() -> None:
    prefilling, limits = queue(*[Planned(75)] * 4), PassLimits(tokens=300, idle=100)
    prefilling.shorten(prefilling.next(limits))
    prefilling.shrink(2)
    assert prefilling.next(limits.within(prefilling.longest)).ends == [75] * 2
    assert len(prefilling.chunks(300, 5)) == 2
    for _ in range(PATIENCE):
        prefilling.lasted(2, 150)
    assert prefilling.next(limits.within(prefilling.longest)).ends == [75] * 4


def test_a_step_with_chunks_is_filled_up_only_at_the_end_of_a_prompt() -> None:
    for tokens, end in ((100, 107), (91, 91), (90, 91), (3, 11)):
        assert [chunk.end for chunk in queue(Planned(400), grain=16).chunks(tokens, 5)] == [end]


@pytest.mark.parametrize(
    ("waiting", "chunk", "ends", "tokens"),
    [
        ([Planned(45)], None, [45], 48),
        ([Planned(45, mixes=False)], None, [45], 45),
        ([Planned(400)], 100, [96], 96),
        ([Planned(400)], 9, [16], 16),
        ([Planned(130)], 100, [130], 144),
        ([Planned(5), Planned(7), Planned(6)], None, [5, 7, 6], 21),
    ],
    ids=["alone", "not possible", "chunk", "small chunk", "no scraps", "no further than the longest"],
)
def test_a_pass_is_computed_in_one_of_few_widths(
    waiting: list[Planned], chunk: int | None, ends: list[int], tokens: int
) -> None:
    """Else oneDNN makes code for each, which takes as long as half of a prompt."""
    limits = PassLimits(tokens=200, idle=100, chunk=chunk, scraps=34)
    chosen = queue(*waiting, grain=16).next(limits)
    assert (chosen.ends, chosen.tokens) == (ends, tokens)


@pytest.mark.parametrize(
    ("prompt", "tried"),
    [(Planned(100), [100, 50, 25]), (Planned(400, 390), [10]), (Planned(100, whole=True), [100])],
)
def test_a_pass_without_memory_is_halved_until_it_cannot_be_shorter(
    prompt: Planned, tried: list[int]
) -> None:
    prefilling, limits, found = queue(prompt), PassLimits(tokens=300, idle=100, scraps=99), list[int]()
    shorter = True
    while shorter:
        failed = prefilling.next(limits.within(prefilling.longest))
        found.append(failed.tokens)
        shorter = prefilling.shorten(failed)
    assert (found, prefilling.longest) == (tried, None)


CPU = {torch.device("cpu"): 100}
GPUS = {torch.device("cuda", 0): 100, torch.device("cuda", 1): 300}


def test_rows_and_their_longest_answer_bound_the_cache() -> None:
    small = BatchCapacity(rows=3, tokens=1000)
    assert small.admits([2000]), "alone it was admitted when it was prepared"
    assert small.admits([500, 10])
    assert not small.admits([501, 10]), "all rows are as wide as the widest"
    assert not small.admits([10] * 4)


def test_an_operator_reads_how_many_rows_are_left_and_when_they_are_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    rows = BatchCapacity(rows=4, tokens=1000)
    for left in (3, 3, 2):
        rows.shrink(left)
    for _ in range(PATIENCE):
        rows.lasted(2)
    assert (rows.rows, rows.admits([10] * 3)) == (3, True)
    assert caplog.messages == [f"rows are now {left} of 4" for left in (3, 2, 3)]


def test_the_cache_takes_half_of_the_free_memory_and_leaves_room_for_growing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(token_budget, "free_memory_bytes", lambda *, swap: 4000 + swap)
    assert cache_budget(CPU) == 2000
    assert cache_tokens(CPU, 15_000) == 100


def test_layers_on_the_fuller_of_two_devices_are_not_promised_the_memory_of_the_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Their cache lies where they do: a GPU without layers that have one promises nothing."""
    free = {0: 8000, 1: 6000}
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free[device.index], 10**9))
    assert cache_budget(GPUS) == 4000, "3000 for three quarters of it"
    free[0] = 1000
    assert cache_budget(GPUS) == 2000, "500 for one quarter of it"
    assert cache_budget({torch.device("cuda", 1): 300}) == 3000


def test_memory_that_torch_holds_unused_after_loading_is_free_for_the_cache(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    free = {"held": 1000}
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: free.update(held=0))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (3000 - free["held"], 8000))
    assert cache_budget({torch.device("cuda", 0): 100}) == 1500


class Clock:
    """Stands still until it is moved."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_chunk_of_a_prompt_takes_as_long_as_the_steps_others_may_wait() -> None:
    pace = PrefillPace(2, clock := Clock())
    assert pace.chunk == FIRST
    pace.stepped(4, 0.1)
    pace.prefilled(100, 0.2)
    assert pace.chunk == 100
    clock.now += 0.1
    assert pace.chunk == 50
    clock.now += 1
    assert pace.chunk == SMALLEST


def test_several_prompts_take_no_longer_than_a_chunk_of_one_while_others_decode() -> None:
    """Nor does it take longer to make them ready, and to encode their pictures."""
    pace = PrefillPace(2, clock := Clock())
    assert pace.limits(hurried=True).sequences == 1
    pace.stepped(4, 0.1)
    for tokens in (100, 20) * 20:
        pace.prefilled(tokens, 0.02 + 0.001 * tokens)
    pace.begun(4, 400, 0.2)
    limits = pace.limits(hurried=True)
    assert (limits.tokens, limits.chunk, limits.sequences) == (180, 180, 4)
    clock.now += 0.14
    limits = pace.limits(hurried=True)
    assert (limits.tokens, limits.chunk, limits.sequences) == (40, 40, 1)


def last(ration: AdaptiveLimit, times: int, used: int | None = None) -> list[int]:
    """The limits after each use of `used`, or of all that is allowed."""
    limits = []
    for _ in range(times):
        ration.lasted(ration.now if used is None else used)
        limits.append(ration.now)
    return limits


def test_what_a_moment_took_comes_back_and_no_more() -> None:
    rows = AdaptiveLimit(4)
    rows.shrink(2)
    assert last(rows, PATIENCE) == [2] * (PATIENCE - 1) + [3]
    assert last(rows, PATIENCE) == [3] * (PATIENCE - 1) + [4]
    assert set(last(rows, 3 * PATIENCE)) == {4}
    rows.shrink(0)
    assert rows.now == 1, "at least one row is left"


@pytest.mark.parametrize(("doubles", "too_few"), [(False, 2), (True, 1)])
def test_a_quiet_hour_says_nothing_about_a_busy_one(doubles: bool, too_few: int) -> None:
    """Else the next full batch fails, as the last one did."""
    rows = AdaptiveLimit(8, doubles=doubles)
    rows.shrink(3)
    assert set(last(rows, 10 * PATIENCE, too_few)) == {3}
    assert last(rows, PATIENCE, too_few + 1)[-1] > 3


def test_memory_that_stays_short_is_tried_ever_more_rarely_but_within_reason() -> None:
    """Each try that comes too early costs somebody a prompt's time."""
    rows, waits = AdaptiveLimit(2), list[int]()
    for _ in range(10):
        rows.shrink(1)
        waits.append(next(uses for uses in count(1) if rows.lasted(1)))
    assert waits[:4] == [PATIENCE * 2**number for number in range(4)]
    assert waits[-3:] == [MOST_PATIENCE] * 3


def answer(arrived: float, *, begun: bool = False) -> Any:
    return SimpleNamespace(row=SimpleNamespace(arrived=arrived), begun=begun)


def test_who_arrived_earlier_and_joins_while_the_head_is_taken_is_not_taken_in_its_place() -> None:
    line, later, earlier = WaitingQueue(), answer(2.0), answer(1.0)
    line.join([later])
    head: Any = line.head()
    line.join([earlier])
    assert head is later
    assert not line.take(later)
    assert line.waiting() == [earlier, later]
    assert line.take(earlier)
    assert line.take(later)
    assert not line.take(later)


def test_the_answers_to_one_prompt_stay_together_and_what_was_put_back_stays_before_all() -> None:
    line, back = WaitingQueue(), answer(9.0, begun=True)
    line.put_back([back])
    wide, single, late = [answer(2.0) for _ in range(3)], answer(1.0), answer(3.0)
    for joining in (wide, [late], [single]):
        line.join(joining)
    assert line.waiting() == [back, single, *wide, late]

import pytest
import torch

from worker.engines.continuous import token_budget
from worker.engines.continuous.adaptive_limit import PATIENCE
from worker.engines.continuous.token_budget import (
    FEW,
    FIRST,
    OFTEN,
    SMALLEST,
    BatchCapacity,
    PrefillPace,
    cache_budget,
    cache_tokens,
)
from worker.engines.progress import ProgressClock

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


def test_the_cache_leaves_room_for_growing() -> None:
    assert cache_tokens(CPU, 15_000) == 100


def test_the_cache_takes_half_of_the_free_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_budget, "free_memory_bytes", lambda *, swap: 4000 + swap)
    assert cache_budget(CPU) == 2000


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


def test_a_few_who_decode_wait_as_long_as_all_will_who_come() -> None:
    pace = PrefillPace(2, Clock())
    for rows in (1, 2, 4) * 20:
        pace.stepped(rows, 0.04 + 0.01 * rows)
    pace.prefilled(100, 0.1)
    pace.turn(1)
    alone = pace.chunk
    pace.turn(16)
    assert (alone, pace.chunk) == (100, 400)


def test_readers_of_quick_steps_still_do_not_notice_a_whole_prompt() -> None:
    pace = PrefillPace(2, Clock())
    pace.stepped(4, 0.001)
    pace.prefilled(100, 0.05)
    assert pace.chunk == 100


def test_what_a_pass_takes_whatever_it_computes_is_not_blamed_on_its_tokens() -> None:
    pace = PrefillPace(2, Clock())
    pace.stepped(4, 0.1)
    for tokens in (100, 20) * 20:
        pace.prefilled(tokens, 0.1 + 0.001 * tokens)
    assert pace.chunk == 100
    pace.stepped(4, 0.0)
    for _ in range(100):
        pace.stepped(4, 0.0)
    # Smaller chunks would be nothing but overhead.
    assert pace.chunk == 100


def test_several_short_prompts_are_computed_between_two_steps_and_several_long_ones_are_not() -> None:
    pace = PrefillPace(2, clock := Clock())
    pace.stepped(4, 0.1)
    pace.turn(4)
    found = []
    for _ in range(4):
        clock.now += 0.06
        found.append(pace.lasts())
    assert found == [True, True, False, False]
    pace.turn(4)
    clock.now += 0.15
    assert not pace.lasts()


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


def test_steps_and_chunks_are_measured_apart_before_and_while_they_are_taken_together() -> None:
    """Else nobody knows any more how long those who decode wait."""
    pace = PrefillPace(2, Clock())
    found = []
    for rows in (1, 1, 2, 3, 4, *[5] * (OFTEN + 1)):
        found.append(pace.mixes(rows))
        if found[-1]:
            pace.mixed()
        else:
            pace.stepped(rows, 0.1)
    assert found == [False, True, False, True, False, *[True] * OFTEN, False]


def test_the_end_of_a_prompt_waits_for_no_pass_of_its_own_that_would_cost_more() -> None:
    pace = PrefillPace(2, Clock())
    assert pace.limits(hurried=True).scraps == 0
    pace.stepped(4, 0.05)
    for tokens in (100, 200, 100, 200):
        pace.prefilled(tokens, 0.03 + 0.001 * tokens)
    assert pace.limits(hurried=True).scraps == 30
    for _ in range(200):
        pace.stepped(4, 0.01)
    assert pace.limits(hurried=True).scraps == 10, "nobody waits more than a step longer"


def test_with_nobody_to_wait_a_pass_takes_in_what_makes_it_worth_its_while() -> None:
    """More would only keep the first from their text."""
    pace = PrefillPace(2, Clock())
    assert (pace.limits(hurried=False).chunk, pace.limits(hurried=False).sequences) == (None, None)
    found = []
    for fixed in (0.2, 0.01):
        for tokens in (100, 20) * 20:
            pace.prefilled(tokens, fixed + 0.001 * tokens)
        found.append((pace.limits(hurried=False).tokens, pace.limits(hurried=False).idle))
    assert found == [(800, 200), (FEW, SMALLEST)]


def test_an_engine_at_rest_is_not_idle() -> None:
    progress = ProgressClock()
    assert (progress.idle_s(), progress.longest_s) == (0, 0)
    progress.start()
    assert progress.idle_s() > 0
    progress.tick()
    assert progress.longest_s > 0
    progress.rest()
    assert progress.idle_s() == 0

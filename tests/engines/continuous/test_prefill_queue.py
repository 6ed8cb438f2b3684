"""Which prompts share a pass, and how far they are filled up."""

from dataclasses import dataclass
from typing import Any

import pytest

from tests.engines import suite
from tests.engines.continuous.conftest import engine_of
from worker.engines.continuous.adaptive_limit import PATIENCE
from worker.engines.continuous.prefill_queue import PrefillQueue
from worker.engines.continuous.token_budget import PassLimits


@dataclass(eq=False)
class Plain:
    """Stands for an answer."""

    apart: bool = False


class Planned:
    """Stands for a prompt of which `done` of `length` tokens are computed."""

    def __init__(self, length: int, done: int = 0, *, mixes: bool = True) -> None:
        self.length, self.done, self.mixes = length, done, mixes

    def end(self, tokens: int | None) -> int:
        return self.length if tokens is None else min(self.length, self.done + tokens)

    def joins(self, other: "Planned") -> bool:
        return self.mixes and other.mixes


class Uncut(Planned):
    """One that may be cut nowhere."""

    def end(self, tokens: int | None) -> int:  # noqa: ARG002
        return self.length


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
    ids=[
        "tokens",
        "long first",
        "unlike",
        "a part",
        "chunks",
        "full",
        "far behind",
        "own kind",
        "own kind first",
        "rows",
    ],
)
def test_a_pass_holds_what_is_alike_and_the_first_in_any_case(
    limits: PassLimits, waiting: list[Any], chosen: list[int]
) -> None:
    prefilling, prompts = PrefillQueue(4), list[Planned]()
    for length in waiting:
        prompts.append(
            Planned(*length) if isinstance(length, tuple) else Planned(length or 50, mixes=bool(length))
        )
        prefilling.add(None, prompts[-1])  # type: ignore[arg-type]
    assert [prompts.index(one.prefill) for one in prefilling.next(limits).sequences] == chosen  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("tokens", "waiting", "ends"),
    [
        (100, [400, 70], [100]),
        (100, [80, 70, 90], [80, 20]),
        (100, [(400, 350), (90, 30), 10], [400, 80]),
        (100, [80, None, 20], [80]),
        (100, [None, 20], []),
        (100, ["apart", 20], []),
        (0, [400], [1]),
    ],
    ids=["long first", "a part", "both begun", "own kind", "own kind first", "broke a pass", "no room"],
)
def test_a_step_takes_along_the_first_and_what_there_is_room_for(
    tokens: int, waiting: list[Any], ends: list[int]
) -> None:
    prefilling = PrefillQueue(4)
    for told in waiting:
        planned = (
            Planned(*told) if isinstance(told, tuple) else Planned(50 if told in (None, "apart") else told)
        )
        planned.mixes = told is not None
        prefilling.add(Plain(apart=told == "apart"), planned)  # type: ignore[arg-type]
    assert [chunk.end for chunk in prefilling.chunks(tokens, 5)] == ends


def test_a_prompt_that_cannot_be_cut_where_there_is_room_waits_until_it_is_the_first() -> None:
    prefilling = PrefillQueue(4)
    for prompt in (Planned(80), Uncut(400), Planned(10)):
        prefilling.add(Plain(), prompt)  # type: ignore[arg-type]
    assert [chunk.end for chunk in prefilling.chunks(100, 5)] == [80]
    del prefilling.sequences[0]
    assert [chunk.end for chunk in prefilling.chunks(100, 5)] == [400]


def test_a_step_takes_along_no_more_prompts_than_there_is_memory_for() -> None:
    prefilling = PrefillQueue(4)
    for _ in range(3):
        prefilling.add(Plain(), Planned(10))  # type: ignore[arg-type]
    prefilling.shrink(2)
    assert len(prefilling.chunks(100, 5)) == 2


def test_passes_that_memory_ran_out_in_are_as_wide_and_as_long_again_once_it_has_lasted() -> None:
    prefilling, limits = PrefillQueue(4), PassLimits(tokens=300, idle=100)
    for _ in range(4):
        prefilling.add(Plain(), Planned(75))  # type: ignore[arg-type]
    prefilling.shorten(prefilling.next(limits))
    prefilling.shrink(2)
    assert prefilling.next(limits.within(prefilling.longest)).ends == [75] * 2
    for _ in range(PATIENCE):
        prefilling.lasted(2, 150)
    assert prefilling.next(limits.within(prefilling.longest)).ends == [75] * 4


def test_a_step_with_chunks_is_filled_up_only_at_the_end_of_a_prompt() -> None:
    prefilling = PrefillQueue(4, grain=16)
    prefilling.add(Plain(), Planned(400))  # type: ignore[arg-type]
    for tokens, end in ((100, 107), (91, 91), (90, 91), (3, 11)):
        assert [chunk.end for chunk in prefilling.chunks(tokens, 5)] == [end]


@pytest.mark.parametrize(("length", "ends"), [(130, [130]), (131, [100])], ids=["scraps", "more"])
def test_a_chunk_leaves_no_scraps_of_its_prompt(length: int, ends: list[int]) -> None:
    prefilling = PrefillQueue(4)
    prefilling.add(None, Planned(length))  # type: ignore[arg-type]
    assert prefilling.next(PassLimits(tokens=100, idle=100, chunk=100, scraps=30)).ends == ends


@pytest.mark.parametrize("length", [1, 16, 45])
def test_a_prompt_by_itself_is_computed_in_one_of_few_widths(length: int) -> None:
    """Else oneDNN makes code for each, which takes as long as half of a prompt."""
    prefilling = PrefillQueue(4, grain=16)
    prefilling.add(Plain(), Planned(length))  # type: ignore[arg-type]
    assert prefilling.next(PassLimits(tokens=100, idle=100)).tokens == -(-length // 16) * 16


@pytest.mark.parametrize("answer", ["broke a pass", "cannot be filled up"])
def test_what_cannot_be_filled_up_is_computed_as_it_is(answer: str) -> None:
    prefilling = PrefillQueue(4, grain=16)
    one = Planned(45, mixes=answer == "broke a pass")
    prefilling.add(Plain(apart=answer == "broke a pass"), one)  # type: ignore[arg-type]
    assert prefilling.next(PassLimits(tokens=100, idle=100)).tokens == 45


@pytest.mark.parametrize(
    ("prompt", "tried"),
    [(Planned(100), [100, 50, 25]), (Planned(400, 390), [10]), (Uncut(100), [100])],
    ids=["cut", "short", "uncut"],
)
def test_a_pass_without_memory_is_halved_until_it_cannot_be_shorter(prompt: Any, tried: list[int]) -> None:
    prefilling, limits, found = PrefillQueue(4), PassLimits(tokens=300, idle=100, scraps=99), list[int]()
    prefilling.add(Plain(), prompt)  # type: ignore[arg-type]
    shorter = True
    while shorter:
        failed = prefilling.next(limits.within(prefilling.longest))
        found.append(failed.tokens)
        shorter = prefilling.shorten(failed)
    assert (found, prefilling.longest) == (tried, None)


def test_a_prompt_that_never_fits_leaves_what_others_taught_of_the_length_of_passes() -> None:
    """The next long one would pay for all the failures anew."""
    prefilling, limits = PrefillQueue(4), PassLimits(tokens=300, idle=100)
    for prompt in (Planned(200), Uncut(400), Planned(60)):
        prefilling.add(Plain(), prompt)  # type: ignore[arg-type]
    assert prefilling.shorten(prefilling.next(limits.within(prefilling.longest)))
    taught = prefilling.longest
    for halvings in (0, 1):
        del prefilling.sequences[0]
        for _ in range(halvings):
            assert prefilling.shorten(prefilling.next(limits.within(prefilling.longest)))
        prefilling.sequences[0].prefill.done = prefilling.sequences[0].prefill.length - 10  # type: ignore[misc]
        assert not prefilling.shorten(prefilling.next(limits.within(prefilling.longest)))
        assert prefilling.longest == taught


def test_chunks_are_cut_where_nothing_is_filled_up() -> None:
    prefilling = PrefillQueue(4, grain=16)
    prefilling.add(Plain(), Planned(400))  # type: ignore[arg-type]
    for chunk, end in ((100, 96), (9, 16), (16, 16)):
        chosen = prefilling.next(PassLimits(tokens=100, idle=100, chunk=chunk))
        assert (chosen.ends, chosen.tokens) == ([end], end)


def test_prompts_that_share_a_pass_are_filled_up_no_further_than_the_longest() -> None:
    prefilling = PrefillQueue(4, grain=16)
    for length in (5, 7, 6):
        prefilling.add(Plain(), Planned(length))  # type: ignore[arg-type]
    assert prefilling.next(PassLimits(tokens=200, idle=100)).tokens == 3 * 7


def test_passes_over_prompts_are_longer_again_once_memory_has_lasted(fresh: suite.Harness) -> None:
    prefilling = engine_of(fresh)._loop._prefilling
    prefilling._tokens.shrink(32)
    prefilling._tokens._patience = 2
    fresh.ask("What do we see in this image?", scope=None, max_new_tokens=2)
    fresh.ask("Tell me about the picture. " * 40, scope=None, max_new_tokens=2)
    assert prefilling.longest is None or prefilling.longest > 32

"""Rows that draw are drawn together: each as if it were alone."""

import math
from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import GenerationConfig, LogitsProcessorList, RepetitionPenaltyLogitsProcessor

from shared.errors import CallerError
from shared.request import Parameters
from worker.engines.continuous import sampling
from worker.engines.continuous.sampling import WARPERS, Choice, Sampler, sample_tokens
from worker.engines.sampling.processors import LogitsError, processors_of

VOCABULARY = 300
CPU = torch.device("cpu")
READS = {"aten._local_scalar_dense", "aten.multinomial", "aten.bincount", "aten.nonzero"}
"""On a GPU each of them waits for the device."""


def made(number: int, **more: Any) -> tuple[Sampler, LogitsProcessorList]:
    """Three rows in four are random; some are warped alike."""
    given = {"logit_bias": ((7, 3.0),), "no_repeat_ngram_size": (None, 1)[number // 4 % 2], **more}
    asked = Parameters(seed=number, frequency_penalty=(None, 0.7)[number % 2], **given)
    config: Any = GenerationConfig(do_sample=number % 4 > 0)  # type: ignore[no-untyped-call]
    row: Any = SimpleNamespace(parameters=asked, published=(), grammar=None)
    sampler = Sampler(row, config, CPU, processors_of(row, config))
    warpers = [warper((0.7, 40, 0.9, 0.02, 0.9)[at]) for at, warper in enumerate(WARPERS)]
    mine = LogitsProcessorList([RepetitionPenaltyLogitsProcessor(1.3), *sampler.own])
    mine.extend(warpers[: (2, 3, 5)[number % 3]] if config.do_sample else [])
    prompt = torch.randint(VOCABULARY, (1, 20 + number), generator=torch.Generator().manual_seed(number))
    sampler.prepare(prompt, [], mine)
    return sampler, mine


def steps(count: int, rows: int) -> torch.Tensor:
    return 4 * torch.randn(count, rows, VOCABULARY, generator=torch.Generator().manual_seed(1))


def alone(number: int, logits: torch.Tensor) -> list[int]:
    """The tokens that `generate()` draws from logits [steps, vocabulary]."""
    sampler, processors = made(number)
    ids, dice = sampler._ids, torch.Generator().manual_seed(number)
    for step in logits[:, None]:
        scores: Any = processors(ids, step)  # type: ignore[arg-type]
        token = (
            torch.multinomial(scores.softmax(dim=-1), num_samples=1, generator=dice)
            if sampler.is_random
            else scores.argmax(dim=-1, keepdim=True)
        )
        ids = torch.cat([ids, token], dim=-1)
    return [int(token) for token in ids[0, 20 + number :]]


def test_a_row_among_others_draws_what_generate_draws_for_it_alone() -> None:
    samplers, logits = [made(number)[0] for number in range(12)], steps(6, 12)
    wanted = [alone(number, logits[:, number].clone()) for number in range(12)]
    got: list[list[int]] = [[] for _ in samplers]
    for step in logits:
        sample_tokens(samplers, step.clone())  # nobody takes these: they do not count
        for sampler, tokens, choice in zip(samplers, got, sample_tokens(samplers, step), strict=True):
            assert not isinstance(choice, Exception)
            sampler.accept(choice)
            tokens.append(choice.token)
    assert got == wanted


def test_a_step_waits_for_the_device_no_more_often_for_many_rows_than_for_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reads: Counter[str] = Counter()
    listed = torch.Tensor.tolist

    class Reads(TorchDispatchMode):  # type: ignore[no-untyped-call]
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if str(func.overloadpacket) in READS:
                reads[str(func)] += 1
            return func(*args, **(kwargs or {}))

    def tolist(self: torch.Tensor) -> Any:
        reads["tolist"] += 1
        return listed(self)

    monkeypatch.setattr(torch.Tensor, "tolist", tolist)
    samplers, logits = [made(number)[0] for number in range(16)], steps(1, 16)[0]
    with Reads():  # type: ignore[no-untyped-call]
        for sampler, choice in zip(samplers, sample_tokens(samplers, logits), strict=True):
            assert not isinstance(choice, Exception)
            sampler.accept(choice)
    assert reads == {"tolist": 2}


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_only_the_row_whose_logits_are_no_numbers_fails_and_its_ban_is_not_blamed(broken: float) -> None:
    samplers, logits = [made(number)[0] for number in range(8)], steps(1, 8)[0]
    everything = tuple((token, -100.0) for token in range(VOCABULARY))
    samplers[3], samplers[4] = (made(number, logit_bias=everything)[0] for number in (3, 4))
    logits[3, 9] = broken
    raised: dict[int, type[Exception]] = {}
    for row, (sampler, choice) in enumerate(zip(samplers, sample_tokens(samplers, logits), strict=True)):
        try:
            if isinstance(choice, Exception):
                raise choice
            sampler.accept(choice)
        except (LogitsError, CallerError) as error:
            raised[row] = type(error)
    assert raised == {3: LogitsError, 4: CallerError}


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_a_row_whose_own_processors_leave_no_numbers_is_not_answered_with_the_first_token(
    broken: float,
) -> None:
    samplers, logits = [made(number)[0] for number in (1, 5, 9)], steps(1, 3)[0]
    samplers[1]._processors = [*samplers[1]._processors, lambda _, scores: scores + broken]  # type: ignore[list-item]
    for row, (sampler, choice) in enumerate(zip(samplers, sample_tokens(samplers, logits), strict=True)):
        assert isinstance(choice, Choice)
        if row == 1:
            with pytest.raises(LogitsError):
                sampler.accept(choice)
        else:
            sampler.accept(choice)


def test_rows_that_there_is_no_memory_to_draw_together_are_drawn_one_by_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else all of their prompts would be computed anew. A row that even fails by itself fails alone."""
    samplers, logits, warped = [made(number)[0] for number in range(12)], steps(1, 12)[0], Sampler.warped

    def scarce(self: Sampler, scores: torch.Tensor) -> torch.Tensor:
        if len(scores) > 1 or self is samplers[5]:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return warped(self, scores)

    wanted: list[Any] = sample_tokens(samplers, logits.clone())
    monkeypatch.setattr(Sampler, "warped", scarce)
    got: list[Any] = sample_tokens(samplers, logits.clone())
    assert isinstance(got.pop(5), torch.OutOfMemoryError)
    assert got == wanted[:5] + wanted[6:]


def test_rows_of_a_large_vocabulary_stay_in_the_caches_of_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "BLOCK", VOCABULARY + 1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    samplers, logits, rows, warped = (
        [made(1)[0] for _ in range(5)],
        steps(1, 5)[0],
        list[int](),
        Sampler.warped,
    )

    def noted(self: Sampler, scores: torch.Tensor) -> torch.Tensor:
        rows.append(len(scores))
        return warped(self, scores)

    wanted = [sample_tokens([sampler], logits[row : row + 1].clone()) for row, sampler in enumerate(samplers)]
    monkeypatch.setattr(Sampler, "warped", noted)
    assert [[choice] for choice in sample_tokens(samplers, logits)] == wanted
    assert rows == [2, 2, 1]

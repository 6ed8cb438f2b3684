"""Rows that draw are drawn together: each as if it were alone."""

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import GenerationConfig, LogitsProcessorList, RepetitionPenaltyLogitsProcessor

from shared.errors import CallerError
from shared.request import Parameters
from worker.engines.continuous.sampling import BLOCK, WARPERS, Sampler, Suppressed, greedy, sample_tokens
from worker.engines.sampling.processors import LogitsError, processors_of

VOCABULARY = 300
CPU = torch.device("cpu")


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


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_only_the_row_whose_logits_are_no_numbers_fails_and_its_ban_is_not_blamed(broken: float) -> None:
    """Be they the model's own, or what the row's own processors leave."""
    samplers, logits = [made(number)[0] for number in range(8)], steps(1, 8)[0]
    everything = tuple((token, -100.0) for token in range(VOCABULARY))
    samplers[3], samplers[4] = (made(number, logit_bias=everything)[0] for number in (3, 4))
    samplers[5]._processors = [*samplers[5]._processors, lambda _, scores: scores + broken]  # type: ignore[list-item]
    logits[3, 9] = broken
    raised: dict[int, type[Exception]] = {}
    for row, (sampler, choice) in enumerate(zip(samplers, sample_tokens(samplers, logits), strict=True)):
        try:
            if isinstance(choice, Exception):
                raise choice
            sampler.accept(choice)
        except (LogitsError, CallerError) as error:
            raised[row] = type(error)
    assert raised == {3: LogitsError, 4: CallerError, 5: LogitsError}


MANY = BLOCK // 3


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_every_row_gets_its_most_probable_token_and_how_probable_that_is(dtype: torch.dtype) -> None:
    logits = 8 * torch.randn(7, MANY, generator=torch.Generator().manual_seed(3)).to(dtype)
    suppressed = [int(logits[2].argmax()), 5]
    expected = logits.float().index_fill(1, torch.tensor(suppressed), -torch.inf).softmax(dim=-1).max(dim=-1)
    found = greedy(logits, Suppressed([*suppressed, MANY + 1]))
    assert [choice.token for choice in found] == expected.indices.tolist()
    assert [choice.probability for choice in found] == pytest.approx(expected.values.tolist(), rel=1e-4)


def test_of_equally_probable_tokens_it_is_the_first_as_generate_takes_it() -> None:
    logits = torch.zeros(1, 100)
    logits[0, [7, 50]] = 1
    assert greedy(logits, Suppressed([]))[0].token == 7


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_a_row_whose_logits_are_no_numbers_is_told_apart_from_its_neighbours(broken: float) -> None:
    logits = torch.zeros(3, 100)
    logits[1, 9] = broken
    found = greedy(logits, Suppressed([]))
    assert [math.isnan(choice.probability) for choice in found] == [False, True, False]

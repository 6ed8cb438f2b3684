"""Rows that draw are drawn together: each as if it were alone."""

import math

import pytest
import torch

from worker.engines.continuous.sampling import BLOCK, Suppressed, greedy

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

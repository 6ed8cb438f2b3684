from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import GenerationConfig, NoRepeatNGramLogitsProcessor

from shared.request import Parameters
from tests.engines.suite import refused
from worker.engines.sampling.processors import (
    Bias,
    Penalties,
    generation_config,
    ngram_size,
    without_repeats,
)


def ids(*tokens: int) -> torch.Tensor:
    return torch.tensor([tokens])


def test_penalties_count_generated_tokens_and_not_the_prompt() -> None:
    penalties = Penalties(frequency=0.5, presence=1.0)
    zeros = torch.zeros(1, 4)
    assert penalties(ids(1, 1, 2), zeros).tolist() == [[0, 0, 0, 0]]  # type: ignore[arg-type]
    assert penalties(ids(1, 1, 2, 3, 3, 0), zeros).tolist() == [[-1.5, 0, 0, -2.0]]  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_no_more_and_no_fewer_repeats_are_forbidden_than_by_transformers(size: int) -> None:
    dice = torch.Generator().manual_seed(size)
    for length in (1, 4, 5, 6, 300):
        tokens = torch.randint(0, 5, (1, length), generator=dice)
        scores = torch.randn(1, 6, generator=dice)
        theirs = NoRepeatNGramLogitsProcessor(size)(tokens, scores.clone())
        ours = without_repeats(tokens[0], scores, size)
        # vLLM's kernels take nothing but -inf for banned.
        assert torch.equal(ours, theirs if theirs.max() > -torch.inf else scores)


def test_where_each_token_would_repeat_some_the_model_is_not_called_broken() -> None:
    scores = torch.zeros(1, 4)
    scores[0, 3] = -torch.inf
    assert without_repeats(torch.tensor([-200, 0, 1, 2, 3, 9]), scores, 1).tolist() == scores.tolist()


def test_a_models_own_limit_of_repeats_holds_where_the_caller_names_none() -> None:
    defaults = GenerationConfig(no_repeat_ngram_size=35)  # type: ignore[no-untyped-call]
    for asked, size in ((None, 35), (0, 0), (3, 3)):
        row: Any = SimpleNamespace(parameters=Parameters(no_repeat_ngram_size=asked), grammar=None)
        assert ngram_size(row, defaults) == size
    row = SimpleNamespace(parameters=Parameters(), grammar=object())
    assert ngram_size(row, defaults) == 0, "six times the same number has to be possible"


def test_what_a_caller_leaves_out_comes_from_the_model() -> None:
    defaults = GenerationConfig(do_sample=True, temperature=0.3)  # type: ignore[no-untyped-call]
    config = generation_config(Parameters(top_k=5), budget=5, suppress=(), defaults=defaults)
    assert (config.do_sample, config.temperature, config.top_k) == (True, None, 5)
    greedy = generation_config(Parameters(temperature=0, top_k=5), budget=5, suppress=(), defaults=defaults)
    assert (greedy.do_sample, greedy.top_k) == (False, None)


def test_a_ban_holds_at_every_temperature_and_no_bias_frees_what_is_suppressed() -> None:
    scores = torch.tensor([[0.0, float("-inf"), 900.0, 1.0]])
    bent = Bias([(1, 100.0), (2, -100.0), (3, 2.5)])(ids(1), scores)  # type: ignore[arg-type]
    assert bent.tolist() == [[0.0, float("-inf"), float("-inf"), 3.5]]
    assert scores[0, 2] == 900


def test_banning_every_token_that_is_left_is_the_callers_error_and_nothing_is_drawn() -> None:
    with refused("invalid_request", "logit_bias"):
        Bias([(0, -100.0), (2, -100.0)])(ids(1), torch.tensor([[0.0, float("-inf"), 1.0]]))  # type: ignore[arg-type]


def test_the_models_own_end_stays_one_beside_the_callers() -> None:
    for own, ends in ((1, [1, 7]), ([1, 2], [1, 2, 7]), (None, [7])):
        defaults = GenerationConfig(eos_token_id=own)  # type: ignore[no-untyped-call]
        given = Parameters(stop_token_ids=(7,))
        assert generation_config(given, budget=5, suppress=(), defaults=defaults).eos_token_id == ends
        assert generation_config(Parameters(), budget=5, suppress=(), defaults=defaults).eos_token_id is None

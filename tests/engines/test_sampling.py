import pytest
import torch
from transformers import GenerationConfig

from shared.request import Parameters
from worker.engines.sampling import Confidence, LogitsError, Penalties, generation_config


def ids(*tokens: int) -> torch.Tensor:
    return torch.tensor([tokens])


def test_penalties_count_generated_tokens_and_not_the_prompt() -> None:
    penalties = Penalties(frequency=0.5, presence=1.0)
    zeros = torch.zeros(1, 4)
    assert penalties(ids(1, 1, 2), zeros).tolist() == [[0, 0, 0, 0]]  # type: ignore[arg-type]
    assert penalties(ids(1, 1, 2, 3, 3, 0), zeros).tolist() == [[-1.5, 0, 0, -2.0]]  # type: ignore[arg-type]


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_broken_model_is_an_error_and_not_an_answer(bad: float) -> None:
    with pytest.raises(LogitsError):
        Confidence()(ids(1), torch.tensor([[0.0, bad, 1.0]]))  # type: ignore[arg-type]


def test_suppressed_tokens_are_no_error() -> None:
    scores = torch.tensor([[0.0, float("-inf"), 1.0]])
    assert Confidence()(ids(1), scores) is scores  # type: ignore[arg-type]


def test_picture_placeholders_are_never_generated_and_the_models_own_list_stays() -> None:
    defaults = GenerationConfig(suppress_tokens=[9])  # type: ignore[no-untyped-call]
    config = generation_config(Parameters(), budget=5, suppress={4}, defaults=defaults)
    assert config.suppress_tokens == [4, 9]


def test_what_a_caller_leaves_out_comes_from_the_model() -> None:
    defaults = GenerationConfig(do_sample=True, temperature=0.3)  # type: ignore[no-untyped-call]
    config = generation_config(Parameters(top_k=5), budget=5, suppress=(), defaults=defaults)
    assert (config.do_sample, config.temperature, config.top_k) == (True, None, 5)
    greedy = generation_config(Parameters(temperature=0, top_k=5), budget=5, suppress=(), defaults=defaults)
    assert (greedy.do_sample, greedy.top_k) == (False, None)

"""When two computations of the same logits are told apart."""

import pytest
import torch

from worker.engines.continuous.errors import BatchingError
from worker.engines.continuous.verify.cases import LogitsComparison

DTYPES = (torch.float32, torch.bfloat16, torch.float16)


@pytest.mark.parametrize("dtype", DTYPES)
def test_logits_of_tokens_that_a_model_never_chooses_do_not_make_all_others_alike(dtype: torch.dtype) -> None:
    """Chameleon writes the format's least number; beside it any difference would look like rounding."""
    alone = torch.tensor([1.0, -2.0, torch.finfo(dtype).min])
    with pytest.raises(BatchingError, match="differ by 5"):
        LogitsComparison(dtype).compare(alone + torch.tensor([1.0, 0.0, 0.0]), alone, "other")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("best", [0.3, 1.3, 27.7])
def test_a_model_that_hides_tokens_is_batched_in_any_number_format(dtype: torch.dtype, best: float) -> None:
    """A batch's logits come in the model's own format, those of generate() in float32."""
    got = torch.tensor([best, best / 2, torch.finfo(dtype).min], dtype=dtype)
    judge = LogitsComparison(dtype)
    judge.compare(got, got.float(), "other")
    assert judge.worst == 0


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_token_that_is_ruled_out_only_beside_others_is_a_difference(dtype: torch.dtype) -> None:
    whole = torch.tensor([1.0, -2.0, 0.5])
    ruled_out = torch.tensor([1.0, -2.0, torch.finfo(dtype).min])
    for got, alone in ((whole, ruled_out), (ruled_out, whole)):
        with pytest.raises(BatchingError):
            LogitsComparison(dtype).compare(got, alone, "other")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("hidden", [-1e4, float("-inf")])
def test_however_a_model_hides_tokens_a_leak_into_the_others_shows(dtype: torch.dtype, hidden: float) -> None:
    alone = torch.tensor([1.0, -2.0, hidden])
    LogitsComparison(dtype).compare(alone.clone(), alone, "other")
    for leak in ([1.0, 0.0, 0.0], [0.0, 0.0, float("nan")]):
        with pytest.raises(BatchingError):
            LogitsComparison(dtype).compare(alone + torch.tensor(leak), alone, "other")
    with pytest.raises(BatchingError):
        LogitsComparison(dtype).compare(torch.tensor([1.0, -2.0, 60.0]), alone, "other")


@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_a_model_whose_logits_are_no_numbers_is_refused_in_words(broken: float) -> None:
    with pytest.raises(BatchingError, match="no finite numbers"):
        LogitsComparison(torch.bfloat16).compare(torch.ones(3), torch.tensor([1.0, broken, 0.0]), "other")

"""Attention over heads that share keys, as the engines on transformers compute it."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from shared.models import Model
from tests.engines.continuous.test_attention import prefilled
from tests.support.families import NAMED
from worker.engines.continuous.runner import Runner
from worker.engines.loading.attention import sdpa
from worker.engines.loading.loaded import LoadedModel


class Calls(TorchFunctionMode):
    """For each token whose attention is computed within: whether torch is asked for shared keys."""

    def __init__(self) -> None:
        self.grouped: list[bool] = []

    def __torch_function__(
        self, func: Callable[..., Any], _types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        given = kwargs or {}
        if func is scaled_dot_product_attention and args[0].shape[2] < 4:
            self.grouped.append(given.get("enable_gqa", False))
        return func(*args, **given)


@pytest.fixture(scope="module")
def shared_keys(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    folder = NAMED["llava"].folder(tmp_path_factory.getbasetemp())
    return LoadedModel(Model(id="shared", source=str(folder), dtype="bfloat16", device="cpu"))


@torch.inference_mode()
def test_a_step_of_rows_of_one_length_does_not_take_torchs_slow_path(shared_keys: LoadedModel) -> None:
    batch = Runner(shared_keys.network)
    for _ in range(2):
        batch.join(prefilled(shared_keys, 20))
    with Calls() as calls:
        batch.step([7, 8])
    assert calls.grouped == [False, False]


@torch.inference_mode()
def test_an_answer_by_generate_does_not_take_torchs_slow_path(shared_keys: LoadedModel) -> None:
    with Calls() as calls:
        shared_keys.network.generate(input_ids=torch.arange(10, 30)[None], max_new_tokens=3, min_new_tokens=3)
    assert calls.grouped == [False] * 4


def test_a_token_attends_to_what_it_attends_to_in_transformers() -> None:
    dice = torch.Generator().manual_seed(1)
    query, keys, values = (torch.randn(2, heads, 5, 16, generator=dice) for heads in (6, 2, 2))
    module: Any = torch.nn.Module()
    module.num_key_value_groups = 3
    ours, its = (
        attend(module, query[:, :, :1], keys, values, None)[0] for attend in (sdpa, sdpa_attention_forward)
    )
    assert torch.allclose(ours, its, rtol=0, atol=1e-5)

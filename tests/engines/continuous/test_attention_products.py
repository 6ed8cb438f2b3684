"""Attention as products, beside torch's own function."""

import pytest
import torch
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from tests.engines.continuous.conftest import noted
from tests.support.device import DEVICE
from worker.engines.continuous import attention
from worker.engines.continuous.verify.cases import cases
from worker.engines.loading.loaded import LoadedModel

ROWS, HEADS, COLUMNS, WIDTH = 3, 6, 40, 16
SEEN = (torch.arange(COLUMNS) >= torch.tensor([0, 11, 39])[:, None]).to(DEVICE)
ADDED = torch.where(SEEN, 0.0, -1e30)[:, None, None]
SLOPES = (torch.arange(HEADS)[None, :, None, None] * torch.linspace(0, 1, COLUMNS)).to(DEVICE)
MASKS: dict[str, torch.Tensor | None] = {
    "none": None,
    "seen": SEEN[:, None, None],
    "added": ADDED,
    "each head's own": ADDED + SLOPES,
}


class Module(torch.nn.Module):
    def __init__(self, shared: int) -> None:
        super().__init__()
        self.num_key_value_groups = HEADS // shared


def drawn(shared: int, dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A query, and keys as a batch holds them: in the midst of wider memory."""
    dice = torch.Generator().manual_seed(shared)
    room = (ROWS + 1, shared, COLUMNS + 9, WIDTH)
    shapes = ((ROWS, HEADS, 1, WIDTH), room, room)
    query, keys, values = (torch.randn(shape, generator=dice).to(DEVICE, dtype) for shape in shapes)
    if attention.gain(keys):
        keys = attention.stored(room, query).copy_(keys)
    return query * 3, keys[:ROWS, :, 4:-5], values[:ROWS, :, 4:-5]


@pytest.mark.parametrize("dtype", [torch.float32] if DEVICE == "cpu" else [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("scaling", [None, 0.3])
@pytest.mark.parametrize("shared", [1, 2, HEADS])
@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
def test_a_token_attends_to_what_it_attends_to_in_transformers(
    mask: torch.Tensor | None, shared: int, scaling: float | None, dtype: torch.dtype
) -> None:
    query, keys, values = drawn(shared, dtype)
    added = mask if mask is None or mask.dtype is torch.bool else mask.to(dtype)
    due, _ = sdpa_attention_forward(
        Module(shared), query, keys.contiguous(), values, added, scaling=scaling, is_causal=False
    )
    # A GPU's own function reads a row's columns side by side where there is no mask.
    assert attention.possible(query, keys, mask, {"scaling": scaling}) is (
        DEVICE == "cpu" or mask is not None
    )
    output = attention.attention(query, keys, values, added, scaling)
    assert (output.shape, output.dtype) == (due.shape, due.dtype)
    assert torch.allclose(output, due, rtol=0, atol=1e-5 if dtype is torch.float32 else 0.03)


def test_what_products_leave_out_is_left_to_transformers() -> None:
    query, keys, _ = drawn(2)
    for how in ({"position_bias": SLOPES}, {"softcap": 30.0}, {"dropout": 0.1}):
        assert not attention.possible(query, keys, MASKS["seen"], how)
    if DEVICE == "cpu":
        halved = attention.stored((*keys.shape,), keys.bfloat16())
        assert not attention.possible(query.repeat(1, 1, 2, 1), keys, None, {}), "several tokens"
        assert not attention.possible(query.bfloat16(), halved, None, {})
        assert not attention.possible(query, keys.contiguous(), None, {})


def test_what_a_batch_is_judged_by_is_computed_by_torch_alone(
    shipped: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a fault of the products would be on both sides of the proof."""
    products = noted(monkeypatch, attention, "attention")
    cases(shipped)
    assert products == []

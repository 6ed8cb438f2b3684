"""One token's attention as products, beside torch's own."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from tests.engines.continuous.conftest import noted
from tests.support.device import DEVICE
from worker.engines.continuous import attention
from worker.engines.continuous.attention import products
from worker.engines.continuous.verify import verify
from worker.engines.continuous.verify_cases import cases
from worker.engines.loading.loaded import LoadedModel


@pytest.mark.thorough
def test_a_model_whose_rows_cannot_be_divided_is_batched_all_the_same(
    shipped: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert verify(shipped, reuse=False).groups
    computed = attention._computed

    def wrong(module: Any, query: Any, *rest: Any) -> torch.Tensor:
        divided = query.shape[2] == 1 and len(getattr(attention._step, "groups", None) or ()) > 1
        return computed(module, query, *rest) * (3 if divided else 1)

    monkeypatch.setattr(attention, "_computed", wrong)
    certificate = verify(shipped, reuse=False)
    assert not certificate.groups
    assert sum(certificate.column_bytes.values()) > 0


ROWS, HEADS, COLUMNS, WIDTH = 3, 6, 40, 16
SEEN = (torch.arange(COLUMNS) >= torch.tensor([0, 11, 39])[:, None]).to(DEVICE)
ADDED = torch.where(SEEN, 0.0, -1e30)[:, None, None]
SLOPES = (torch.arange(HEADS)[None, :, None, None] * torch.linspace(0, 1, COLUMNS)).to(DEVICE)
MASKS = {"seen": SEEN[:, None, None], "added": ADDED, "each head's own": ADDED + SLOPES}


@pytest.mark.parametrize("dtype", [torch.float32] if DEVICE == "cpu" else [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("scaling", [None, 0.3])
@pytest.mark.parametrize("shared", [1, 2, HEADS])
@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
def test_products_attend_to_what_torch_attends_to(
    mask: torch.Tensor, shared: int, scaling: float | None, dtype: torch.dtype
) -> None:
    """Over keys as a batch holds them: in the midst of wider memory."""
    dice, room = torch.Generator().manual_seed(shared), (ROWS + 1, shared, COLUMNS + 9, WIDTH)
    shapes = ((ROWS, HEADS, 1, WIDTH), room, room)
    query, *both = (3 * torch.randn(shape, generator=dice).to(DEVICE, dtype) for shape in shapes)
    keys, values = (one[:ROWS, :, 4:-5] for one in both)
    added = mask if mask.dtype is torch.bool else mask.to(dtype)
    module: Any = SimpleNamespace(num_key_value_groups=HEADS // shared)
    due, _ = sdpa_attention_forward(module, query, keys, values, added, scaling=scaling, is_causal=False)
    output = products(query, keys, values, added, scaling)
    assert (output.shape, output.dtype) == (due.shape, due.dtype)
    assert torch.allclose(output, due, rtol=0, atol=1e-5 if dtype is torch.float32 else 0.1)


def test_what_products_leave_out_and_what_a_batch_is_judged_by_is_left_to_torch(
    shipped: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a fault of the products would be on both sides of the proof."""
    query, mask = torch.ones(1, 2, 1, 4), torch.ones(1, 1, 1, 3)
    key: Any = SimpleNamespace(device=torch.device("cuda"))
    assert attention._faster_as_products(query, key, mask, {"scaling": 0.3})
    for how in ({"position_bias": mask}, {"softcap": 30.0}, {"dropout": 0.1}):
        assert not attention._faster_as_products(query, key, mask, how)
    assert not attention._faster_as_products(query, key, None, {})
    assert not attention._faster_as_products(query.repeat(1, 1, 2, 1), key, mask, {})
    asked = noted(monkeypatch, attention, "_faster_as_products")
    cases(shipped)
    assert asked == []

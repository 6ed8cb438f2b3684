"""Rows of very different length in one batch."""

import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import GenerationConfig

from tests.engines.continuous.conftest import noted
from worker.engines.continuous import attention
from worker.engines.continuous.attention import AttentionGroup, grouped
from worker.engines.continuous.batch import Batch
from worker.engines.continuous.kv_slices import KnownPrefix
from worker.engines.continuous.prefill import Prefill, Prefilled
from worker.engines.continuous.verify.batching import verify
from worker.engines.loading.loaded import LoadedModel

PATCHED, COMPUTED = "worker.engines.continuous.attention._attend", attention._attend
LENGTHS = (300, 9, 12, 10, 290, 5, 64)


@given(st.lists(st.integers(1, 2000), max_size=20), st.integers(0, 1000))
def test_every_row_attends_once_over_all_its_columns(lengths: list[int], waste: int) -> None:
    groups = grouped(lengths, waste)
    assert [row for group in groups for row in range(group.start, group.end)] == list(range(len(lengths)))
    assert all(group.length == max(lengths[group.start : group.end]) for group in groups)
    assert all(one.length != other.length for one, other in pairwise(groups))


def test_short_rows_do_not_pay_for_a_long_one_and_rows_of_like_length_stay_attend() -> None:
    lengths = [100, 110, 90, 1500, 100, 105]
    assert grouped(lengths, 256) == [
        AttentionGroup(0, 3, 110),
        AttentionGroup(3, 4, 1500),
        AttentionGroup(4, 6, 105),
    ]
    assert grouped([100, 120] * 3, 256) == [AttentionGroup(0, 6, 120)]


@pytest.fixture
def widths(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Rows and columns that attend together, call by call."""
    return noted(monkeypatch, attention, "_attend", lambda _, __, key, *___: (key.shape[0], key.shape[2]))


@torch.inference_mode()
def test_rows_of_very_different_length_are_told_what_they_are_told_alone(
    shipped: LoadedModel, widths: list[tuple[int, int]]
) -> None:
    batch, alone = Batch(shipped.network, waste=64), [Batch(shipped.network) for _ in LENGTHS]
    for length, own in zip(LENGTHS, alone, strict=True):
        for one in (batch, own):
            one.join(prefilled(shipped, length))
    for _ in range(3):
        del widths[:]
        crowd = batch.step([7] * len(LENGTHS))
        assert max(columns for rows, columns in widths if rows > 1) < 100
        for row, own in zip(crowd, alone, strict=True):
            assert torch.allclose(row, own.step([7])[0], rtol=0, atol=1e-4)
    batch.leave(0)
    assert torch.isfinite(batch.step([7] * (len(LENGTHS) - 1))).all()


@pytest.mark.thorough
def test_a_model_whose_rows_cannot_be_divided_is_batched_all_the_same(
    shipped: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert verify(shipped).groups

    def wrong(module: Any, query: Any, *rest: Any) -> Any:
        divided = query.shape[2] == 1 and len(getattr(attention._step, "groups", None) or ()) > 1
        return COMPUTED(module, query, *rest) * (math.e if divided else 1)

    monkeypatch.setattr(PATCHED, wrong)
    certificate = verify(shipped)
    assert not certificate.groups
    assert sum(certificate.column_bytes.values()) > 0


def prefilled(model: LoadedModel, length: int) -> Prefilled:
    ids = torch.arange(10, 10 + length, device=model.network.device)[None] % 900
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    config = GenerationConfig(max_new_tokens=1)  # type: ignore[no-untyped-call]
    done = Prefill(model.network, KnownPrefix(inputs), config).advance()
    assert done is not None
    return done

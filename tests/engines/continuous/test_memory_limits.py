"""The columns of a batch that never empties."""

from typing import Any

import pytest
import torch

from tests.engines.continuous.conftest import QUESTIONS, crowded, started
from tests.engines.continuous.test_attention_groups import prefilled
from worker.engines.base import Finish
from worker.engines.continuous.batch import Batch
from worker.engines.loading.loaded import LoadedModel


def memory(batch: Batch) -> list[tuple[int, tuple[int, int]]]:
    """Where each layer keeps its keys, and how many rows and columns of them there is room for."""
    return [(layer.keys.data_ptr(), layer.size) for layer in batch._full.aligned]


@torch.inference_mode()
@pytest.mark.parametrize("steps", [1, 30], ids=["they come often", "seldom"])
def test_a_batch_that_never_empties_stays_where_it_is(shipped: LoadedModel, steps: int) -> None:
    """New memory for all rows every so many steps costs as much as a few steps."""
    batch, seen = Batch(shipped.network, limit=2), list[Any]()
    batch.join(prefilled(shipped, 40))
    for _ in range(240 // steps):
        batch.join(prefilled(shipped, 40))
        for _ in range(steps):
            batch.step([7] * 2)
        batch.leave(0)
        seen.append(memory(batch))
    assert all(one == seen[1] for one in seen[1:])


@torch.inference_mode()
def test_a_long_row_takes_no_memory_for_rows_that_have_left(shipped: LoadedModel) -> None:
    batch = Batch(shipped.network, limit=8)
    for _ in range(8):
        batch.join(prefilled(shipped, 20))
    for _ in range(7):
        batch.leave(0)
    batch.join(prefilled(shipped, 600))
    assert memory(batch)[0][1][0] == 2


@torch.inference_mode()
def test_rows_take_no_memory_for_a_long_one_that_has_left(shipped: LoadedModel) -> None:
    batch = Batch(shipped.network, limit=8)
    for length in (1000, 20):
        batch.join(prefilled(shipped, length))
    batch.leave(0)
    for _ in range(3):
        batch.join(prefilled(shipped, 20))
    assert memory(batch)[0][1][1] < 200


@torch.inference_mode()
def test_what_a_long_row_needed_is_given_back_while_others_go_on(shipped: LoadedModel) -> None:
    batch = Batch(shipped.network, limit=2)
    batch.join(prefilled(shipped, 1000))
    batch.join(prefilled(shipped, 20))
    widest = memory(batch)[0][1][1]
    batch.leave(0)
    for _ in range(widest):
        batch.step([7])
        if memory(batch)[0][1][1] < widest:
            break
    assert memory(batch)[0][1][1] < widest / 2


def test_nothing_is_read_that_nobody_wrote(
    shipped: LoadedModel, answers: list[Finish], monkeypatch: pytest.MonkeyPatch
) -> None:
    """New memory holds what was there before: another's text, or numbers that are none."""
    new_empty = torch.Tensor.new_empty

    def dirty(self: torch.Tensor, *shape: Any, **how: Any) -> torch.Tensor:
        made = new_empty(self, *shape, **how)
        return made.fill_(torch.nan) if made.is_floating_point() else made

    monkeypatch.setattr(torch.Tensor, "new_empty", dirty)
    assert crowded(started(shipped), QUESTIONS) == answers

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
@pytest.mark.parametrize(
    ("left", "joining", "most"), [([20] * 7, [600], (2, 2000)), ([1000], [20] * 3, (8, 200))]
)
def test_nobody_takes_memory_for_rows_or_a_long_one_that_have_left(
    shipped: LoadedModel, left: list[int], joining: list[int], most: tuple[int, int]
) -> None:
    batch = Batch(shipped.network, limit=8)
    for length in (*left, 20):
        batch.join(prefilled(shipped, length))
    for _ in left:
        batch.leave(0)
    for length in joining:
        batch.join(prefilled(shipped, length))
    rows, columns = memory(batch)[0][1]
    assert (rows <= most[0], columns <= most[1]) == (True, True)


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

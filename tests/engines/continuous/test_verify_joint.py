"""Prompts are computed together only by a model that was proved to compute them so."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from tests.engines import suite
from tests.engines.continuous.conftest import crowded, tiny
from worker.engines.base import Finish
from worker.engines.continuous import model_inputs, shared_pass
from worker.engines.continuous.kv_slices import KVSlices
from worker.engines.continuous.prefill import Prefill
from worker.engines.continuous.verify.batching import verify
from worker.engines.loading.loaded import LoadedModel
from worker.engines.registry import create


def rows_see_what_fills_up_others(patch: pytest.MonkeyPatch) -> None:
    mask = shared_pass._mask

    def all_ones(*how: Any) -> torch.Tensor | None:
        hidden = mask(*how)
        return None if hidden is None else torch.ones_like(hidden)

    patch.setattr(shared_pass, "_mask", all_ones)


def known_tokens_end_at_the_wrong_column(patch: pytest.MonkeyPatch) -> None:
    row = KVSlices.row
    patch.setattr(KVSlices, "row", lambda self, at, start, end: row(self, at, 0, end - start))


def rows_take_their_neighbours_columns(patch: pytest.MonkeyPatch) -> None:
    row = KVSlices.row
    patch.setattr(KVSlices, "row", lambda self, at, start, end: row(self, max(0, at - 1), start, end))


def shorter_rows_are_read_at_the_longest_ones_end(patch: pytest.MonkeyPatch) -> None:
    take = Prefill.take
    last: list[torch.Tensor] = []

    def late(self: Prefill, end: int, logits: torch.Tensor, past: KVSlices) -> Any:
        last.append(logits)
        return take(self, end, last[0], past)

    patch.setattr(Prefill, "take", late)


@pytest.mark.parametrize(
    "flaw",
    [
        rows_see_what_fills_up_others,
        known_tokens_end_at_the_wrong_column,
        rows_take_their_neighbours_columns,
        shorter_rows_are_read_at_the_longest_ones_end,
    ],
)
def test_a_model_that_computes_prompts_otherwise_together_computes_them_one_by_one(
    flaw: Callable[[pytest.MonkeyPatch], None], shipped: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    flaw(monkeypatch)
    proved = verify(shipped, reuse=False).together
    assert not proved.prompts
    reason = "computes prompts one by one (prompts in one pass are answered otherwise: they differ by "
    assert reason in proved.words


def test_pictures_that_change_each_other_are_encoded_one_by_one(
    shipped: LoadedModel, harness: suite.Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "their pictures one by one" not in harness.engine.reason
    encode_all = model_inputs.encode_all
    monkeypatch.setattr(
        "worker.engines.continuous.reuse_cache.encode_all", lambda *given: encode_all(*given)[::-1]
    )
    proved = verify(shipped).together
    assert (proved.prompts, proved.pictures) == (True, False)
    assert "their pictures one by one" in proved.words


def test_a_model_that_is_proved_to_compute_prompts_one_by_one_does(
    answers: list[Finish], passes: list[list[tuple[int, int]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        rows_take_their_neighbours_columns(patch)
        harness = suite.Harness(create(tiny()).load())
    passes.clear()
    assert "computes prompts one by one" in harness.engine.reason
    assert crowded(harness) == answers
    assert passes == []

"""The cache's memory: how much there may be, and the columns of a batch that never empties."""

import pytest
import torch
from transformers import GenerationConfig

from worker.engines.continuous import engine
from worker.engines.continuous.engine import cache_budget, cache_tokens
from worker.engines.continuous.prefill import KnownPrompt, Prefill
from worker.engines.continuous.runner import Runner
from worker.engines.loading.loaded import LoadedModel

CPU = {torch.device("cpu"): 100}
GPUS = {torch.device("cuda", 0): 100, torch.device("cuda", 1): 300}


def test_the_cache_takes_half_of_the_free_memory_and_leaves_room_for_growing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(engine, "free_memory_bytes", lambda *, swap: 4000 + swap)
    assert cache_budget(CPU) == 2000
    assert cache_tokens(CPU, 15_000) == 100


def test_layers_on_the_fuller_of_two_devices_are_not_promised_the_memory_of_the_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Their cache lies where they do: a GPU without layers that have one promises nothing.

    What torch holds unused after loading is free for it.
    """
    free, held = {0: 8000, 1: 6000}, {"bytes": 1000}
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: held.update(bytes=0))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda gpu: (free[gpu.index] - held["bytes"], 10**9))
    assert cache_budget(GPUS) == 4000, "3000 for three quarters of it"
    free[0] = 1000
    assert cache_budget(GPUS) == 2000, "500 for one quarter of it"
    assert cache_budget({torch.device("cuda", 1): 300}) == 3000


def joined(model: LoadedModel, runner: Runner, length: int) -> None:
    ids = torch.arange(10, 10 + length, device=model.network.device)[None] % 900
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    config = GenerationConfig(max_new_tokens=1)  # type: ignore[no-untyped-call]
    prefill = Prefill(model.network, KnownPrompt(inputs), config)
    prefill.advance(length)
    runner.join(prefill)


@torch.inference_mode()
@pytest.mark.parametrize("captures", [False, True])
def test_what_a_long_row_needed_is_given_back_while_others_go_on(
    shipped: LoadedModel, *, captures: bool
) -> None:
    """Captured steps would compute over all of it."""
    runner = Runner(shipped.network, rows=2, captures=captures, columns=64, repeats=10**9)
    joined(shipped, runner, 1000)
    joined(shipped, runner, 20)
    widest = runner._full.size[1]
    runner.leave(0)
    for _ in range(widest):
        runner.step([7])
        if runner._full.size[1] < widest:
            break
    assert runner._full.size[1] < widest / 2


@torch.inference_mode()
def test_nothing_is_read_that_nobody_wrote(shipped: LoadedModel) -> None:
    """A long row that has left leaves its text and numbers behind, which may be none."""
    runner, alone = Runner(shipped.network, rows=2), Runner(shipped.network)
    for one, lengths in ((runner, (20, 90)), (alone, (20,))):
        for length in lengths:
            joined(shipped, one, length)
    for layer in runner._full.kv:
        layer.keys[1] = layer.values[1] = torch.nan
    runner.leave(1)
    joined(shipped, runner, 8)
    for _ in range(2 * 64):
        logits, expected = runner.step([7, 7]), alone.step([7])[0]
        assert torch.allclose(logits[0], expected, rtol=0, atol=1e-4)
        assert logits.isfinite().all()

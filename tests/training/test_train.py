"""Weights that are there are made better, not thrown away."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from training import train
from training.model import TINY


@pytest.mark.timeout(400)
def test_a_short_end_begins_at_the_weights_it_was_given_and_learns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train, "ENDING_STEPS", 1)
    # The same step with less to compute; it draws eight batches at once.
    monkeypatch.setattr(train.Ending, "BATCH", 4)
    train.train_onward(tmp_path, seed=1, weights=TINY)
    old, new = (load_file(folder / "model.safetensors") for folder in (TINY, tmp_path / "model"))
    assert old.keys() == new.keys()
    assert all(torch.allclose(old[name].float(), new[name].float(), atol=0.02) for name in old)
    assert any(not torch.equal(old[name], new[name]) for name in old)

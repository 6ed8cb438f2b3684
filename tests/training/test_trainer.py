"""Hours of training must survive a kill."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from training import trainer
from training.trainer import Optimiser, learn, run


class Killed(BaseException):
    pass


class Toy:
    """Learns numbers that depend on the step; `dies` before that step."""

    name = "toy"

    def __init__(self, dies: int = -1) -> None:
        torch.manual_seed(0)
        self.layers = nn.ModuleDict({"layers": nn.Linear(4, 4)})
        self.optimiser = Optimiser(self.layers)
        self.parts = {"layers": self.layers, "optimiser": self.optimiser}
        self.dies = dies
        self.seen: list[int] = []

    def step(self, number: int, done: float) -> dict[str, float]:
        if number == self.dies:
            raise Killed
        self.seen.append(number)
        torch.manual_seed(number)
        loss = (self.layers["layers"](torch.randn(8, 4)) - 1).square().mean()
        learn(loss, number, 1 - done, self.optimiser)
        return {"loss": loss.item()}

    def weights(self) -> list[Any]:
        return [p.tolist() for p in self.layers.parameters()]


@pytest.fixture(autouse=True)
def _save_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer, "SAVE_EVERY_S", -1.0)


def test_a_run_killed_and_started_again_ends_with_the_weights_of_one_never_killed(tmp_path: Path) -> None:
    whole, killed, resumed = Toy(), Toy(dies=5), Toy()
    run(whole, 12, tmp_path / "whole")
    with pytest.raises(Killed):
        run(killed, 12, tmp_path / "killed")
    run(resumed, 12, tmp_path / "killed")
    assert resumed.seen == list(range(5, 12))
    assert resumed.weights() == whole.weights()


def test_a_phase_that_ended_is_not_run_again(tmp_path: Path) -> None:
    run(Toy(), 3, tmp_path)
    again = Toy()
    run(again, 3, tmp_path)
    assert again.seen == []

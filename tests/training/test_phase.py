"""Hours of training must survive a kill."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from training import phase
from training.optimiser import Optimiser, learn
from training.phase import Budget, Progress, Stateful, run


class Killed(BaseException):
    pass


class Toy:
    """Learns numbers that depend on the step; `dies` before that step."""

    name = "toy"

    def __init__(self, dies: int = -1) -> None:
        torch.manual_seed(0)
        self.layers = nn.ModuleDict({"layers": nn.Linear(4, 4)})
        self.optimiser = Optimiser([(self.layers, 1.0)])
        self.dies = dies
        self.seen: list[int] = []

    def parts(self) -> dict[str, Stateful]:
        return {"layers": self.layers, "optimiser": self.optimiser}

    def step(self, number: int, done: float) -> dict[str, float]:
        if number == self.dies:
            raise Killed
        self.seen.append(number)
        torch.manual_seed(number)
        loss = (self.layers["layers"](torch.randn(8, 4)) - 1).square().mean()
        learn(loss, 1 - done, self.optimiser)
        return {"pictures": 8, "loss": loss.item()}

    def weights(self) -> list[Any]:
        return [p.tolist() for p in self.layers.parameters()]


@pytest.fixture(autouse=True)
def _save_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(phase, "SAVE_EVERY_S", -1.0)


def test_a_run_killed_and_started_again_ends_with_the_weights_of_one_never_killed(tmp_path: Path) -> None:
    whole, killed, resumed = Toy(), Toy(dies=5), Toy()
    run(whole, Budget(12), tmp_path / "whole")
    with pytest.raises(Killed):
        run(killed, Budget(12), tmp_path / "killed")
    run(resumed, Budget(12), tmp_path / "killed")
    assert resumed.seen == list(range(5, 12))
    assert resumed.weights() == whole.weights()


def test_a_phase_that_ended_is_not_run_again(tmp_path: Path) -> None:
    run(Toy(), Budget(3), tmp_path)
    again = Toy()
    run(again, Budget(3), tmp_path)
    assert again.seen == []


def test_a_budget_of_minutes_ends_by_the_clock_whatever_the_steps() -> None:
    assert Budget(10, minutes=2).spent(steps=1_000, seconds=60) == 0.5
    assert Budget(10).spent(steps=5, seconds=10_000) == 0.5


def test_the_progress_line_tells_loss_speed_and_time_left() -> None:
    progress = Progress()
    progress.add({"pictures": 640, "loss": 0.5}, seconds=60)
    assert progress.line("toy", 0.25) == "toy  25.0% step 1 loss 0.500 11 pictures/s, 3 min left"

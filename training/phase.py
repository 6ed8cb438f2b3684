"""One phase of the training: steps until its budget is spent, with checkpoints and a line of progress.

A phase killed at any moment goes on from its last checkpoint with the pictures, questions and rates it would
have seen: what a step draws depends on its number alone. A phase that has spent its budget is not run again.
"""

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch

log = logging.getLogger("training")

SAVE_EVERY_S = 60.0
TELL_EVERY_S = 10.0


class Stateful(Protocol):
    def state_dict(self) -> Mapping[str, Any]: ...

    def load_state_dict(self, state: Any) -> Any: ...


class Phase(Protocol):
    name: str

    def parts(self) -> dict[str, Stateful]:
        """What a checkpoint holds."""

    def step(self, number: int, done: float) -> dict[str, float]:
        """One optimiser step, `done` (0 to 1) of the way; returns what to tell. "pictures" counts, the rest
        is averaged."""


@dataclass(frozen=True)
class Budget:
    """A number of steps, or of minutes of training, whatever the machine does in them.

    The rates fall with what is spent. Only a budget of steps gives the same weights twice.
    """

    steps: int
    minutes: float | None = None

    def spent(self, steps: int, seconds: float) -> float:
        return steps / self.steps if self.minutes is None else seconds / (60 * self.minutes)


@dataclass
class Progress:
    steps: int = 0
    seconds: float = 0.0
    pictures: float = 0.0
    means: dict[str, float] = field(default_factory=dict)

    def add(self, told: dict[str, float], seconds: float) -> None:
        self.steps += 1
        self.seconds += seconds
        self.pictures += told.pop("pictures")
        for key, value in told.items():
            self.means[key] = 0.95 * self.means.get(key, value) + 0.05 * value

    def line(self, name: str, spent: float) -> str:
        means = " ".join(f"{key} {value:.3f}" for key, value in self.means.items())
        left = self.seconds / spent * (1 - spent) / 60 if spent else 0.0
        rate = self.pictures / self.seconds
        return f"{name} {spent:6.1%} step {self.steps} {means} {rate:.0f} pictures/s, {left:.0f} min left"


def run(phase: Phase, budget: Budget, folder: Path) -> None:
    file = folder / f"{phase.name}.pt"
    progress = _resume(phase, file)
    saved = told = time.monotonic()
    while (spent := budget.spent(progress.steps, progress.seconds)) < 1:
        began = time.monotonic()
        progress.add(phase.step(progress.steps, spent), time.monotonic() - began)
        now = time.monotonic()
        if now - told > TELL_EVERY_S:
            told = now
            log.info(progress.line(phase.name, budget.spent(progress.steps, progress.seconds)))
        if now - saved > SAVE_EVERY_S:
            saved = now
            _save(phase, progress, file)
    _save(phase, progress, file)
    log.info("%s done: %s", phase.name, progress.line(phase.name, 1.0))


def _save(phase: Phase, progress: Progress, file: Path) -> None:
    """Written beside and renamed: a kill while saving leaves the last whole checkpoint."""
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(".part")
    state = {name: p.state_dict() for name, p in phase.parts().items()}
    torch.save(state | {"progress": vars(progress)}, part)
    part.replace(file)


def _resume(phase: Phase, file: Path) -> Progress:
    if not file.exists():
        return Progress()
    state = torch.load(file, weights_only=True)
    for name, part in phase.parts().items():
        part.load_state_dict(state[name])
    progress = Progress(**state["progress"])
    log.info("%s goes on at step %d", phase.name, progress.steps)
    return progress

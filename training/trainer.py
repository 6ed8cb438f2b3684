"""One phase of the training: its steps, with checkpoints and a line of progress.

A phase killed at any moment resumes from its last checkpoint with the pictures, questions and rates it would
have seen: what a step draws depends on its number alone. A phase that has taken its steps is not run again.
"""

import logging
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

log = logging.getLogger("training")

SAVE_EVERY_S = 60.0
LOG_EVERY_S = 10.0
MUON_RATE = 0.02
ADAM_RATE = 3e-3
WARM_UP_STEPS = 40
CLIP = 1.0


class Phase(Protocol):
    """`parts` are what a checkpoint holds."""

    name: str
    parts: dict[str, Any]

    def step(self, number: int, done: float) -> dict[str, float]:
        """One optimiser step, `done` (0 to 1) of the way; returns the numbers to log."""


@dataclass
class Progress:
    steps: int = 0
    seconds: float = 0.0
    means: dict[str, float] = field(default_factory=dict)

    def add(self, numbers: dict[str, float], seconds: float) -> None:
        self.steps += 1
        self.seconds += seconds
        for key, value in numbers.items():
            self.means[key] = 0.95 * self.means.get(key, value) + 0.05 * value

    def line(self, name: str, steps: int) -> str:
        means = " ".join(f"{key} {value:.3f}" for key, value in self.means.items())
        left = self.seconds / self.steps * (steps - self.steps) / 60
        return f"{name} step {self.steps} of {steps}: {means}, {left:.0f} min left"


def run(phase: Phase, steps: int, folder: Path) -> None:
    checkpoint = folder / f"{phase.name}.pt"
    progress = _resume(phase, checkpoint)
    saved_at = logged_at = time.monotonic()
    while progress.steps < steps:
        began = time.monotonic()
        numbers = phase.step(progress.steps, progress.steps / steps)
        now = time.monotonic()
        progress.add(numbers, now - began)
        if now - logged_at > LOG_EVERY_S:
            logged_at = now
            log.info(progress.line(phase.name, steps))
        if now - saved_at > SAVE_EVERY_S:
            saved_at = now
            _save(phase, progress, checkpoint)
    _save(phase, progress, checkpoint)
    log.info(progress.line(phase.name, steps))


def _save(phase: Phase, progress: Progress, checkpoint: Path) -> None:
    """Written to another file and renamed: a kill while saving leaves the last whole checkpoint."""
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    partial = checkpoint.with_suffix(".part")
    state = {name: part.state_dict() for name, part in phase.parts.items()}
    torch.save(state | {"progress": vars(progress)}, partial)
    partial.replace(checkpoint)


def _resume(phase: Phase, checkpoint: Path) -> Progress:
    if not checkpoint.exists():
        return Progress()
    state = torch.load(checkpoint, weights_only=True)
    for name, part in phase.parts.items():
        part.load_state_dict(state[name])
    progress = Progress(**state["progress"])
    log.info("%s resumes at step %d", phase.name, progress.steps)
    return progress


class Optimiser:
    """Muon on the matrices inside the layers, AdamW on everything else, one schedule for both.

    Muon (https://kellerjordan.github.io/posts/muon) learns more per second at these sizes than AdamW alone,
    although it takes longer per step. `scale` slows down these modules against others.
    """

    def __init__(self, *modules: nn.Module, scale: float = 1.0) -> None:
        self._parts: list[tuple[torch.optim.Optimizer, float]] = []
        self.parameters: list[nn.Parameter] = []
        for module in modules:
            named = list(module.named_parameters())
            matrices = [p for name, p in named if p.ndim == 2 and "layers" in name]
            others = [(name, p) for name, p in named if p.ndim != 2 or "layers" not in name]
            decayed = [p for name, p in others if p.ndim >= 2 and "embed" not in name]
            plain = [p for name, p in others if p.ndim < 2 or "embed" in name]
            groups = [{"params": decayed, "weight_decay": 0.05}, {"params": plain, "weight_decay": 0.0}]
            self._parts.append((torch.optim.AdamW(groups, betas=(0.9, 0.98)), ADAM_RATE * scale))
            if matrices:
                muon = torch.optim.Muon(matrices, weight_decay=0.02, momentum=0.95)
                self._parts.append((muon, MUON_RATE * scale))
            self.parameters += [*matrices, *decayed, *plain]

    def step(self, rate: float) -> None:
        """One step at `rate` times the full rates, after which the gradients are gone."""
        for part, full_rate in self._parts:
            for group in part.param_groups:
                group["lr"] = full_rate * rate
            part.step()
            part.zero_grad()

    def state_dict(self) -> dict[str, Any]:
        return {"parts": [part.state_dict() for part, _ in self._parts]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for (part, _), stored in zip(self._parts, state["parts"], strict=True):
            part.load_state_dict(stored)


def learn(loss: torch.Tensor, step: int, rate: float, *optimisers: Optimiser) -> None:
    """Warmed up over the first steps. Parameters the loss does not reach stay as they are."""
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_([p for o in optimisers for p in o.parameters if p.grad is not None], CLIP)
    for optimiser in optimisers:
        optimiser.step(min(1.0, (step + 1) / WARM_UP_STEPS) * rate)

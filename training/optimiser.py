"""Muon on the matrices inside the layers, AdamW on everything else, one schedule for both.

Muon: https://kellerjordan.github.io/posts/muon. At these sizes it learns more per second than AdamW alone,
although it takes longer per step.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

MUON_RATE = 0.02
ADAM_RATE = 3e-3
WARM_UP = 40
CLIP = 1.0


class Optimiser:
    """`scale` slows down one module against the others."""

    def __init__(self, modules: Iterable[tuple[nn.Module, float]]) -> None:
        self._parts: list[torch.optim.Optimizer] = []
        self._rates: list[float] = []
        self.parameters: list[nn.Parameter] = []
        for module, scale in modules:
            self._add(module, scale)

    def _add(self, module: nn.Module, scale: float) -> None:
        matrices: list[nn.Parameter] = []
        decayed: list[nn.Parameter] = []
        plain: list[nn.Parameter] = []
        for name, parameter in module.named_parameters():
            if parameter.ndim == 2 and "layers" in name:
                matrices.append(parameter)
            else:
                (decayed if parameter.ndim >= 2 and "embed" not in name else plain).append(parameter)
        groups = [{"params": decayed, "weight_decay": 0.05}, {"params": plain, "weight_decay": 0.0}]
        self._keep(torch.optim.AdamW(groups, betas=(0.9, 0.98)), ADAM_RATE * scale)
        if matrices:
            self._keep(torch.optim.Muon(matrices, weight_decay=0.02, momentum=0.95), MUON_RATE * scale)
        self.parameters += [*matrices, *decayed, *plain]

    def _keep(self, part: torch.optim.Optimizer, rate: float) -> None:
        self._parts.append(part)
        self._rates.append(rate)

    def step(self, rate: float) -> None:
        """One step at `rate` times the full rates, after which the gradients are gone."""
        for part, full in zip(self._parts, self._rates, strict=True):
            for group in part.param_groups:
                group["lr"] = full * rate
            part.step()
            part.zero_grad()

    def state_dict(self) -> dict[str, Any]:
        return {"parts": [part.state_dict() for part in self._parts]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for part, saved in zip(self._parts, state["parts"], strict=True):
            part.load_state_dict(saved)


def warmed_up(step: int, rate: float) -> float:
    return min(1.0, (step + 1) / WARM_UP) * rate


def learn(loss: torch.Tensor, rate: float, *optimisers: Optimiser) -> None:
    """Parameters the loss does not reach stay as they are."""
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_([p for o in optimisers for p in o.parameters if p.grad is not None], CLIP)
    for optimiser in optimisers:
        optimiser.step(rate)

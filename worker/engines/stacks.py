"""Progress within a forward pass: a long prompt or many pictures take minutes on a slow processor."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch


class Stacks:
    """The layers that a network stacks on each other, those of its encoders among them."""

    def __init__(self, network: Any) -> None:
        self._layers = list(_stacked(network))

    @contextmanager
    def after_each(self, call: Callable[[], None]) -> Iterator[None]:
        """What `call` raises ends the pass."""

        def computed(*_: Any) -> None:
            call()

        hooks = [layer.register_forward_hook(computed) for layer in self._layers]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()


def _stacked(module: Any) -> Iterator[torch.nn.Module]:
    """Not what lies within a layer: some have lists of their own, of a hundred experts."""
    if isinstance(module, torch.nn.ModuleList):
        yield from module
        return
    for child in module.children():
        yield from _stacked(child)

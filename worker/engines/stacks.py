"""Progress within a forward pass: a long prompt or many pictures take minutes on a slow processor."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

STACKS = (torch.nn.ModuleList, torch.nn.Sequential)


class Stacks:
    """The layers that a network stacks on each other, those of its encoders among them."""

    def __init__(self, network: Any) -> None:
        self._layers = list(_stacked(network))

    @contextmanager
    def after_each(self, call: Callable[[], None]) -> Iterator[None]:
        """What `call` raises ends the pass."""

        def computed(*_: Any) -> None:
            # Of a network that is compiled to decode this would make many small pieces.
            if not torch.compiler.is_compiling():
                call()

        hooks = [layer.register_forward_hook(computed) for layer in self._layers]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()


def _stacked(module: torch.nn.Module) -> Iterator[torch.nn.Module]:
    """Not what lies within a layer: some have lists of their own, of a hundred experts."""
    if not isinstance(module, STACKS):
        for child in module.children():
            yield from _stacked(child)
        return
    for layer in module:
        # A list within a list is never called itself.
        yield from _stacked(layer) if isinstance(layer, STACKS) else (layer,)

"""Reports progress within a forward pass, which for a long prompt may take minutes on a slow processor."""

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from worker.engines.loading.devices import DeviceEvent, Devices

STACKS = (torch.nn.ModuleList, torch.nn.Sequential)
# Layers queued on a device that computes later: one it computes, and one for it to go on with at once.
AHEAD = 2


class LayerProgress:
    """The layers of a network's stacks, those of its encoders included."""

    def __init__(self, network: Any) -> None:
        self._layers = list(_stacked(network))
        self._devices = Devices(network)

    @contextmanager
    def after_each(self, call: Callable[[], None]) -> Iterator[None]:
        """Run `call` after each layer in the block; what it raises ends the pass.

        By then all layers but the last `AHEAD` are computed, also where a device only queues them.
        """
        queued = deque[DeviceEvent]()

        def computed(*_: Any) -> None:
            # It would break the graph of a compiled network into many small pieces.
            if torch.compiler.is_compiling():
                return
            queued.append(self._devices.mark())
            if len(queued) > AHEAD:
                queued.popleft().wait()
            call()

        hooks = [layer.register_forward_hook(computed) for layer in self._layers]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()


def _stacked(module: torch.nn.Module) -> Iterator[torch.nn.Module]:
    """The layers of all stacks, but not lists inside a layer, such as those of a hundred experts."""
    if not isinstance(module, STACKS):
        for child in module.children():
            yield from _stacked(child)
        return
    for layer in module:
        # A list has no forward pass of its own, so one inside a stack is descended into.
        yield from _stacked(layer) if isinstance(layer, STACKS) else (layer,)

"""Waits for devices that compute later: there, torch returns from a call once it is queued."""

from dataclasses import dataclass
from typing import Any

import torch

from worker.engines.placement import device_of


@dataclass(frozen=True)
class Mark:
    """A place in what is queued on each device."""

    events: list[Any]

    def wait(self) -> None:
        """Return once the devices have come so far. Raises what they have failed with."""
        for event in self.events:
            event.synchronize()


class Devices:
    """The accelerators that hold a network; none on a CPU, which has computed what a call returns."""

    def __init__(self, network: torch.nn.Module) -> None:
        kind = torch.accelerator.current_accelerator()
        places = {tensor.device for tensor in (*network.parameters(), *network.buffers())}
        if places == {torch.device("meta")}:
            # All are offloaded, and fetched for each pass.
            places = {device_of(network)}
        self._queued = [place for place in places if kind is not None and place.type == kind.type]

    def mark(self) -> Mark:
        return Mark([torch.accelerator.current_stream(place).record_event() for place in self._queued])

    def wait(self) -> None:
        """Return once all that is queued is computed. Raises what the devices have failed with."""
        for place in self._queued:
            torch.accelerator.synchronize(place)

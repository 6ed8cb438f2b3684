"""How much of the time a GPU computes anything, as its driver says."""

import threading
from statistics import mean

import torch

EVERY_S = 0.1
"""A sample of the driver covers a sixth of a second or more."""


class DeviceLoad:
    """In the body. Raises what torch does where the driver cannot be asked."""

    def __init__(self, device: str) -> None:
        place = torch.device(device)
        # Without a number torch would begin a context on the device in this process.
        self._number = None if place.type == "cpu" else place.index or 0
        self._samples, self._over = list[int](), threading.Event()
        self._thread = threading.Thread(target=self._watch, name="device load")

    def __enter__(self) -> "DeviceLoad":
        if self._number is not None:
            torch.cuda.utilization(self._number)
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if self._number is not None:
            self._thread.join()

    @property
    def share(self) -> float | None:
        """None on a CPU."""
        return round(mean(self._samples) / 100, 3) if self._samples else None

    def _watch(self) -> None:
        while not self._over.wait(EVERY_S):
            self._samples.append(torch.cuda.utilization(self._number))

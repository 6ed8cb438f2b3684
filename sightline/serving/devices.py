"""The devices of this machine, what their memory has for models, and what each model takes of it."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from shared.cgroup import free_memory_bytes
from shared.models import Model, may_be_on_hub
from sightline.exits import CommandError, Exit
from sightline.gpus import DriverError, Gpu, without_cuda
from sightline.model_setup.choice import VISIBLE, usable_gpus
from sightline.serving.demand import Device

# Measured: record server, API, courier and node together; a worker with torch and no weights.
BASE_MB = 300
TORCH_MB = 350
ECHO_MB = 100
CONTEXT_MB = 1000
"""A guess at what CUDA, the cache and a step's tensors take of a GPU beside the weights."""
VLLM_SHARE = 0.9
"""The share of a GPU's memory that vLLM takes if the row has no `gpu_memory_utilization`."""
CPU = "cpu"


class Devices:
    """Models get what is free when this is made, or `memory_mb` of each device."""

    def __init__(self, memory_mb: int | None = None) -> None:
        self._gpus = {f"cuda:{gpu.index}": gpu for gpu in _gpus()}
        self._measured: dict[str, int] = {}
        rooms = {CPU: free_memory_bytes(swap=True) / 2**20 - BASE_MB}
        rooms |= {name: gpu.free_mb or rooms[CPU] for name, gpu in self._gpus.items()}
        self.all = tuple(Device(name, int((memory_mb or mb) * 2**20)) for name, mb in rooms.items())

    def of(self, model: Model) -> tuple[str, ...]:
        """Return the names of the devices that a model may use, or that it spans."""
        if model.engine == "echo" or model.device == CPU or not self._gpus:
            return (CPU,)
        if model.device not in ("auto", "cuda"):
            return (model.device,)
        count = model.options.get("tensor_parallel_size", 1)
        return tuple(self._gpus)[: count if count > 1 else None]

    def spans(self, model: Model) -> bool:
        spread = model.device_map is not None or model.options.get("tensor_parallel_size", 1) != 1
        return spread and len(self.of(model)) > 1

    def need(self, model: Model) -> int:
        """Return the bytes that a worker takes: as measured, as its row says, or guessed from its files."""
        measured = self._measured.get(model.lane)
        return measured or int((model.memory_mb or self._guess_mb(model)) * 2**20)

    def _guess_mb(self, model: Model) -> float:
        """A model that is not on this machine yet is assumed to fill the device."""
        names = self.of(model)
        if model.engine == "vllm" and (gpu := self._gpus.get(names[0])):
            share = float(model.options.get("gpu_memory_utilization", VLLM_SHARE)) * (gpu.total_mb or 0)
            return share * (len(names) if self.spans(model) else 1)
        nowhere = not may_be_on_hub(model.source) and not Path(model.source).is_dir()
        if model.engine != "echo" and not model.folder.files and not nowhere:
            return self.room(model) / 2**20
        if model.engine == "echo":
            return ECHO_MB
        return (CONTEXT_MB if names[0] in self._gpus else TORCH_MB) + model.folder.weights / 1e6

    def room(self, model: Model) -> float:
        """Return the most bytes that a model could have."""
        rooms = [device.room for device in self.all if device.name in self.of(model)]
        return sum(rooms) if self.spans(model) else max(rooms, default=0)

    def environment(self, model: Model, device: str) -> Mapping[str, str]:
        """Return what a worker's environment needs, so that it computes there."""
        if device == CPU or len(self._gpus) == 1 or model.device not in ("auto", "cuda"):
            return {}
        # nvidia-smi counts so, CUDA by default the fastest first.
        return {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", VISIBLE: device.replace("cuda:", "")}

    def free_mb(self, device: str) -> float:
        """Return what is free of a GPU now, or of several together, as their driver says; slow."""
        return sum(gpu.free_mb or 0 for gpu in _gpus() if f"cuda:{gpu.index}" in device.split(","))

    def measure(self, model: Model, device: str, pid: int, free_before_mb: float) -> None:
        """Note what a worker that has loaded its model takes, its weights at least; slow."""
        if device == CPU:
            try:
                taken_mb = psutil.Process(pid).memory_full_info().uss / 2**20
            except psutil.Error:
                return
        else:
            # Others may leave the device meanwhile.
            taken_mb = max(free_before_mb - self.free_mb(device), model.folder.weights / 1e6)
        if taken_mb > 0:
            rooms = [one.room for one in self.all if one.name in device.split(",")]
            # It is loaded there, so it fits there.
            self._measured[model.lane] = int(min(taken_mb * 2**20, len(rooms) * min(rooms)))

    def forget(self, model: Model) -> None:
        """Forget what was measured of another row."""
        self._measured.pop(model.lane, None)

    def exceeded(self, model: Model, kept: int) -> None:
        """Note that a load ran out of memory: it takes more, up to what `kept` bytes of others leave."""
        need = self.need(model)
        self._measured[model.lane] = int(max(need, min(2 * need, self.room(model) - kept)))

    def check(self, models: Sequence[Model]) -> None:
        """Raise CommandError if none of the models fits this machine."""
        if models and all(self.need(model) > self.room(model) for model in models):
            free = free_memory_bytes(swap=True) / 2**20
            needed = BASE_MB + min(self.need(model) for model in models) / 2**20
            raise CommandError(
                Exit.MEMORY,
                f"Not enough memory: the service needs about {needed:.0f} MB, {free:.0f} MB are free; "
                "end other programs or serve smaller models.",
            )


def _gpus() -> list[Gpu]:
    """Return the GPUs that torch can use."""
    try:
        return [] if without_cuda() else usable_gpus()
    except DriverError:
        return []

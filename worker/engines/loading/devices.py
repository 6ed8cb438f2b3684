"""Where a model computes: checks of its row's devices, waiting for them, and how many threads a CPU has."""

import logging
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch

from shared.cgroup import processors
from shared.errors import ModelFailed
from shared.models import Model

log = logging.getLogger("worker.engines.loading")
# Has a file for each GPU that the driver shows this process, whatever torch knows of it.
DEVICES = Path("/dev")
# Values with which transformers spreads a model by itself; "disk" is accelerate's name for a folder.
PLANS = ("auto", "balanced", "balanced_low_0", "sequential")
DISK = "disk"


def check_devices(model: Model) -> None:
    """Raises ModelFailed naming the field, the value and why it is no device of this machine."""
    if model.device_map is None:
        if model.device != "auto":
            _check(model, "device", model.device, "it is auto, or a device like cpu, cuda or cuda:1")
        return
    where = model.device_map
    if where == {}:
        raise ModelFailed(f"model {model.id}, with device_map = {{}}: it places nothing; leave it out.")
    if isinstance(where, dict) and set(where.values()) == {DISK}:
        raise ModelFailed(
            f"model {model.id}, with device_map = {where}: nothing computes; name a device for some part."
        )
    devices, allowed = (where.values(), (DISK,)) if isinstance(where, dict) else ([where], PLANS)
    for device in devices:
        if device not in allowed:
            _check(model, "device_map", device, f"it names devices, or is one of {', '.join(PLANS)}")


def warn_of_idle_gpu(model: Model) -> None:
    """Log if the CPU computes a model only because torch cannot use the GPU that is here."""
    chosen = model.device == "auto" and not isinstance(model.device_map, dict)
    if chosen and not torch.cuda.is_available() and any(DEVICES.glob("nvidia[0-9]*")):
        log.warning("torch %s cannot use the GPU that is here: the CPU computes", torch.__version__)


def check_places(model: Model, network: torch.nn.Module) -> None:
    """Raises ModelFailed if `device_map` names a part that the model does not have."""
    if not isinstance(model.device_map, dict):
        return
    modules = [name for name, _ in network.named_modules(remove_duplicate=False)]
    names = {*modules, *network.state_dict(keep_vars=True)}
    names.update(name for name, _ in network.named_buffers(remove_duplicate=False))
    unknown = next((name for name in model.device_map if name not in names), None)
    if unknown is not None:
        parts = ", ".join(name for name in modules if name and name.count(".") < 2)
        raise ModelFailed(
            f"model {model.id}, with device_map = {model.device_map}: it has no {unknown!r}, but {parts}."
        )


def device_of(network: Any) -> torch.device:
    """Where the network takes its inputs and returns its logits."""
    device: torch.device = network.device
    if device.type != "meta":
        return device
    # Accelerate fetches these weights for each pass, from a folder or from main memory.
    computing = (place for place in network.hf_device_map.values() if place not in ("cpu", DISK))
    return torch.device(next(computing, "cpu"))


def _check(model: Model, field: str, value: Any, hint: str) -> None:
    subject = f"model {model.id}, with {field} = {getattr(model, field)!r}"
    try:
        device = torch.empty(0, device=value).device
    except (AssertionError, ImportError, NotImplementedError, RuntimeError) as error:
        reason = str(error).splitlines()[0].partition(". ")[0]
        raise ModelFailed(f"{subject}: {reason} ({hint})") from None
    if device.type == "meta":
        raise ModelFailed(f"{subject}: meta computes nothing ({hint})")


class Devices:
    """The accelerators that hold a network: there, torch returns from a call once it is queued.

    None on a CPU, which has computed what a call returns.
    """

    def __init__(self, network: torch.nn.Module) -> None:
        kind = torch.accelerator.current_accelerator()
        places = {tensor.device for tensor in (*network.parameters(), *network.buffers())}
        if places == {torch.device("meta")}:
            # All are offloaded, and fetched for each pass.
            places = {device_of(network)}
        self._queued = [place for place in places if kind is not None and place.type == kind.type]

    def mark(self) -> list[Any]:
        """Return an event of each device, to be waited for with `synchronize`."""
        return [torch.accelerator.current_stream(place).record_event() for place in self._queued]

    def wait(self) -> None:
        """Return once all that is queued is computed. Raises what the devices have failed with."""
        for place in self._queued:
            torch.accelerator.synchronize(place)


# libgomp gives each thread that computes on several processors helper threads of its own, which spin between
# two operations. Once all helpers together outnumber the processors they sleep instead, and waking them
# takes as long as an operation: two threads made a step no faster than one. So only the thread of the
# batching engine has helpers; `sequential` computes in the attempts' threads, one after the other.

T = TypeVar("T")


def use_threads(count: int) -> None:
    """At most one thread per processor: threads that share one keep waiting for each other."""
    there = processors()
    if count > there:
        log.warning("SIGHTLINE_WORKER__THREADS is %d, but only %d may be used", count, there)
    compute_on(min(count, there))


def compute_on(processors: int) -> None:
    """For the calling thread, and for threads that have not computed yet, which adopt the last number set."""
    # A thread that computes for the first time adopts the last number set; this call makes it do so before.
    torch.get_num_threads()
    torch.set_num_threads(processors)


def in_own_thread(work: Callable[[], T]) -> T:
    """Run `work` in a thread of its own, whose helpers end with it."""
    with ThreadPoolExecutor(1, "passing") as pool:
        return pool.submit(work).result()


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
        queued = deque[list[Any]]()

        def computed(*_: Any) -> None:
            # It would break the graph of a compiled network into many small pieces.
            if torch.compiler.is_compiling():
                return
            queued.append(self._devices.mark())
            if len(queued) > AHEAD:
                for event in queued.popleft():
                    event.synchronize()
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

"""Checks a row's `device` and `device_map`, as far as possible before weights are read."""

import logging
from pathlib import Path
from typing import Any

import torch

from shared.errors import ModelFailed
from shared.models import Model

log = logging.getLogger(__name__)
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
    devices, known = (where.values(), (DISK,)) if isinstance(where, dict) else ([where], PLANS)
    for device in devices:
        if device not in known:
            _check(model, "device_map", device, f"it names devices, or is one of {', '.join(PLANS)}")


def tell_of_idle_gpu(model: Model) -> None:
    """Log if the CPU computes a model only because torch cannot use the GPU that is here."""
    chosen = model.device == "auto" and not isinstance(model.device_map, dict)
    if chosen and not torch.cuda.is_available() and any(DEVICES.glob("nvidia[0-9]*")):
        log.warning("torch %s cannot use the GPU that is here: the CPU computes", torch.__version__)


def check_places(model: Model, network: torch.nn.Module) -> None:
    """Raises ModelFailed if `device_map` names a part that the model does not have."""
    if not isinstance(model.device_map, dict):
        return
    modules = [name for name, _ in network.named_modules(remove_duplicate=False)]
    known = {*modules, *network.state_dict(keep_vars=True)}
    known.update(name for name, _ in network.named_buffers(remove_duplicate=False))
    unknown = next((name for name in model.device_map if name not in known), None)
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
    # Its first part's: accelerate fetches these weights for each pass, from a folder or from main memory.
    return torch.device(network._hf_hook.execution_device)


def _check(model: Model, field: str, value: Any, hint: str) -> None:
    what = f"model {model.id}, with {field} = {getattr(model, field)!r}"
    try:
        found = torch.empty(0, device=value).device
    except (AssertionError, ImportError, NotImplementedError, RuntimeError) as error:
        reason = str(error).splitlines()[0].partition(". ")[0]
        raise ModelFailed(f"{what}: {reason} ({hint})") from None
    if found.type == "meta":
        raise ModelFailed(f"{what}: meta computes nothing ({hint})")

"""What `sightline --version` prints for a report of a fault, without importing torch."""

import platform
from collections.abc import Iterator
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version

from shared import VERSION
from sightline.gpus import DriverError, nvidia_devices, without_cuda

PACKAGES = ("torch", "transformers", "vllm")


def versions() -> Iterator[str]:
    """A line for each part that is installed, and one for the device that computes."""
    yield f"sightline {VERSION}"
    yield f"python {platform.python_version()}"
    for name in PACKAGES:
        with suppress(PackageNotFoundError):
            yield f"{name} {version(name)}"
    yield f"device {_device()}"


def _device() -> str:
    try:
        names = ", ".join(gpu.name for gpu in nvidia_devices())
    except DriverError as error:
        return f"cpu ({error})"
    if names and without_cuda():
        return f"cpu (the torch that is installed cannot use {names})"
    return names or "cpu"

"""Checks the GPU through the driver's own program, since the command line does not import torch."""

import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from shared.models import Model
from sightline.doctor.check import Check, ok, problem, warning

PROGRAM = "nvidia-smi"
QUERY = ("--query-gpu=index,name,memory.free,memory.total", "--format=csv,noheader,nounits")


@dataclass(frozen=True)
class Gpu:
    """One device; memory in MiB, None where the driver does not report it."""

    index: int
    name: str
    free_mb: int | None
    total_mb: int | None


class DriverError(Exception):
    """The driver's program is installed but fails; the message is the program's."""


def seen() -> list[Gpu]:
    """Every NVIDIA device; none where there is no driver. Raises DriverError."""
    program = shutil.which(PROGRAM)
    if program is None:
        return []
    try:
        done = subprocess.run([program, *QUERY], capture_output=True, text=True, timeout=20, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DriverError(f"{PROGRAM}: {error}") from None
    if done.returncode:
        said = (done.stdout + done.stderr).strip() or f"{PROGRAM} ended with {done.returncode}"
        raise DriverError(said.splitlines()[0][:200])
    # The driver prints warnings between the devices.
    return [_gpu(line) for line in done.stdout.splitlines() if line.partition(",")[0].isdecimal()]


def there() -> bool:
    """Whether this machine has a driver, and so most likely a device."""
    return shutil.which(PROGRAM) is not None


def _gpu(line: str) -> Gpu:
    """Devices that share the processor's memory report none of their own: `[N/A]`."""
    index, *name, free, total = (cell.strip() for cell in line.split(","))
    return Gpu(int(index), ", ".join(name), _mb(free), _mb(total))


def _mb(cell: str) -> int | None:
    return int(cell) if cell.isdecimal() else None


def look(models: Sequence[Model], find: Callable[[], list[Gpu]] = seen) -> Iterator[Check]:
    """A finding for each device, or one that says that there is none."""
    wanting = [model.id for model in models if model.device.startswith("cuda") or model.engine == "vllm"]
    try:
        gpus = find()
    except DriverError as error:
        bad = problem if wanting else warning
        yield bad("gpu", f"the driver does not answer ({error})", "restart or reinstall the driver")
        return
    if gpus:
        for gpu in gpus:
            room = "" if gpu.free_mb is None else f", {gpu.free_mb} of {gpu.total_mb} MiB free"
            yield ok("gpu", f"{gpu.index}: {gpu.name}{room}")
    elif wanting:
        fix = 'install its driver (nvidia-smi must run here), or set device = "cpu" in the models file'
        yield problem("gpu", f"none is seen, and {', '.join(wanting)} needs one", fix)
    else:
        yield ok("gpu", "none is seen: models are computed by the CPU")

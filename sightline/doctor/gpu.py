"""Checks the GPU through the driver's own program, since the command line does not import torch."""

import re
import runpy
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from shared.models import Model
from sightline.doctor.check import Check, ok, problem, warning

PROGRAM = "nvidia-smi"
QUERY = ("--query-gpu=index,name,memory.free,memory.total,compute_cap", "--format=csv,noheader,nounits")


@dataclass(frozen=True)
class Gpu:
    """One device; memory in MiB, None where the driver does not report it. `capability` is CUDA's."""

    index: int
    name: str
    free_mb: int | None
    total_mb: int | None
    capability: float | None = None


class DriverError(Exception):
    """The driver's program is installed but fails; the message is the program's."""


def nvidia_devices() -> list[Gpu]:
    """Every NVIDIA device; none where there is no driver. Raises DriverError."""
    program = shutil.which(PROGRAM)
    if program is None:
        return []
    try:
        done = subprocess.run([program, *QUERY], capture_output=True, text=True, timeout=20, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DriverError(f"{PROGRAM}: {error}") from None
    if done.returncode:
        output = (done.stdout + done.stderr).strip() or f"{PROGRAM} ended with {done.returncode}"
        raise DriverError(output.splitlines()[0][:200])
    # The driver prints warnings between the devices.
    return [_gpu(line) for line in done.stdout.splitlines() if line.partition(",")[0].isdecimal()]


def there() -> bool:
    """Whether this machine has a driver, and so most likely a device."""
    return shutil.which(PROGRAM) is not None


def _gpu(line: str) -> Gpu:
    """Devices that share the processor's memory report none of their own: `[N/A]`."""
    cells = [cell.strip() for cell in line.split(",")]
    if len(cells) < len(QUERY[0].split(",")):
        raise DriverError(f"{PROGRAM}: {line[:200]}")
    index, *name, free, total, capability = cells
    return Gpu(int(index), ", ".join(name), _mb(free), _mb(total), _number(capability))


def _number(cell: str) -> float | None:
    return float(cell) if re.fullmatch(r"\d+\.\d+", cell) else None


def _mb(cell: str) -> int | None:
    return int(cell) if cell.isdecimal() else None


def without_cuda() -> bool:
    """Whether torch is installed, and not in a build for these devices."""
    spec = find_spec("torch")
    if spec is None or spec.origin is None:
        return False
    return runpy.run_path(str(Path(spec.origin).with_name("version.py")))["cuda"] is None


def _places(model: Model) -> list[str]:
    """The devices that its row names."""
    if isinstance(model.device_map, dict):
        return [str(place) for place in model.device_map.values()]
    return [model.device]


def _wants_one(model: Model) -> bool:
    named = any(place.startswith("cuda") or place.isdecimal() for place in _places(model))
    return named or model.engine == "vllm"


def checks(models: Sequence[Model], find: Callable[[], list[Gpu]] = nvidia_devices) -> Iterator[Check]:
    """A finding for each device, or one that says that there is none, and one if torch cannot use them."""
    wanting = [model.id for model in models if _wants_one(model)]
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
        yield from _check_torch(models)
    elif wanting:
        fix = 'install its driver (nvidia-smi must run here), or set device = "cpu" in the models file'
        yield problem("gpu", f"none is seen, and {', '.join(wanting)} needs one", fix)
    else:
        yield ok("gpu", "none is seen: models are computed by the CPU")


def _check_torch(models: Sequence[Model]) -> Iterator[Check]:
    """vLLM brings its own."""
    rows = [model for model in models if model.engine not in ("echo", "vllm")]
    idle = [model.id for model in rows if not {"cpu", "disk"}.issuperset(_places(model))]
    if idle and without_cuda():
        bad = problem if any(_wants_one(model) for model in rows) else warning
        fix = 'install torch and torchvision in a CUDA build, or set device = "cpu" in the models file'
        yield bad("gpu", f"the torch that is installed cannot use it for {', '.join(idle)}", fix)

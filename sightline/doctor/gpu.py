"""The GPU, as the driver's own program tells of it: the command line imports no torch."""

import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from shared.models import Model
from sightline.doctor.check import Check, ok, problem

PROGRAM = "nvidia-smi"
QUERY = ("--query-gpu=index,name,memory.free,memory.total", "--format=csv,noheader,nounits")


@dataclass(frozen=True)
class Gpu:
    """One device; memory in MiB."""

    index: int
    name: str
    free_mb: int
    total_mb: int


class DriverError(Exception):
    """The driver's program is there and fails; the message is its own."""


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
        raise DriverError((done.stdout + done.stderr).strip().splitlines()[0][:200] or PROGRAM)
    return [_gpu(line) for line in done.stdout.splitlines() if line.strip()]


def _gpu(line: str) -> Gpu:
    index, name, free, total = (cell.strip() for cell in line.split(","))
    return Gpu(int(index), name, int(free), int(total))


def look(models: Sequence[Model], find: Callable[[], list[Gpu]] = seen) -> Iterator[Check]:
    """One line for each device, or one that says that there is none."""
    wanting = [model.id for model in models if model.device.startswith("cuda") or model.engine == "vllm"]
    try:
        gpus = find()
    except DriverError as error:
        yield problem("gpu", f"the driver does not answer ({error})", "restart or reinstall the driver")
        return
    if gpus:
        for gpu in gpus:
            yield ok("gpu", f"{gpu.index}: {gpu.name}, {gpu.free_mb} of {gpu.total_mb} MiB free")
    elif wanting:
        fix = 'install its driver (nvidia-smi must run here), or set device = "cpu" in the models file'
        yield problem("gpu", f"none is seen, and {', '.join(wanting)} needs one", fix)
    else:
        yield ok("gpu", "none is seen: models are computed by the CPU")

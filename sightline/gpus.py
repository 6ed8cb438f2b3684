"""Finds NVIDIA's GPUs by the driver's own program, because the command line does not import torch."""

import re
import runpy
import shutil
import subprocess
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

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

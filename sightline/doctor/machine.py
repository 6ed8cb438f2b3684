"""Checks this machine: the device for the models, the API's port, and the disk."""

import errno
import os
import shutil
import socket
from collections.abc import Sequence
from pathlib import Path

from shared.blobs import Blobs
from shared.models import Model
from shared.settings import BlobSettings, SettingsError
from sightline.doctor import Check, State
from sightline.gpus import DriverError, nvidia_devices, without_cuda
from sightline.serving.folder import try_writing

MAKE_ROOM = "make room on that disk, or shorten SIGHTLINE_RETENTION__RESULT_S and SIGHTLINE_RETENTION__FILE_S"
SCARCE = 2**29
"""Free bytes of a disk below which nothing should be started."""


def check_device(rows: Sequence[Model]) -> Check:
    """Return whether the models' devices are there, and whether the torch that is installed can use them."""
    wanting = ", ".join(row.id for row in rows if _names_gpu(row))
    state: State = "problem" if wanting else "warning"
    try:
        gpus = nvidia_devices()
    except DriverError as error:
        fix = "restart or reinstall the driver: nvidia-smi must run here"
        return Check("device", state, f"the GPU's driver does not answer ({error})", fix)
    if not gpus:
        fix = 'install its driver (nvidia-smi must run here), or set device = "cpu" in the models file'
        missing = Check("device", "problem", f"there is no NVIDIA GPU, and {wanting} needs one", fix)
        return missing if wanting else Check("device", "ok", "there is no NVIDIA GPU: the CPU computes")
    idle = ", ".join(row.id for row in rows if _may_use_gpu(row))
    if idle and without_cuda():
        fix = 'install torch and torchvision in a CUDA build, or set device = "cpu" in the models file'
        return Check("device", state, f"the torch that is installed cannot use the GPU for {idle}", fix)
    return Check("device", "ok", "; ".join(f"{gpu.index}: {gpu.name}" for gpu in gpus))


def _places(row: Model) -> set[str]:
    """Return the devices that the row names."""
    return {str(it) for it in row.device_map.values()} if isinstance(row.device_map, dict) else {row.device}


def _names_gpu(row: Model) -> bool:
    return any(place.startswith("cuda") or place.isdecimal() for place in _places(row))


def _may_use_gpu(row: Model) -> bool:
    """Return False for vLLM, too, which brings its own torch."""
    return row.engine not in ("echo", "vllm") and not _places(row) <= {"cpu", "disk"}


def check_port(host: str, port: int) -> Check:
    """Return whether an API that does not run yet can listen there."""
    try:
        with socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET):
            return Check("port", "ok", f"{host} port {port} is free: no service runs there")
    except OSError as error:
        said = f"{host} port {port} cannot be used: {os.strerror(error.errno or 0)}"
        fix = "end the program that has it (lsof -i), or choose another: sightline run --port 8080"
        return Check("port", "problem", said, fix)


def check_data(data: Path) -> Check:
    """Check the data folder of `sightline run`, which need not exist yet."""
    there = next(path for path in (data, *data.resolve().parents) if path.exists())
    fix = f"give this user the right to write there (chown), or choose another: --data, not {there}"
    return _check_folder("data folder", str(data), there, fix)


def check_blobs(blobs: BlobSettings) -> Check:
    """Check the folder or the object store of SIGHTLINE_BLOBS__URL."""
    if blobs.folder is not None:
        fix = "make it, and let api, workers and couriers write there"
        return _check_folder("pictures", f"SIGHTLINE_BLOBS__URL: {blobs.folder}", blobs.folder, fix)
    try:
        if Blobs(blobs).probe() == "reachable":
            return Check("pictures", "ok", f"{blobs.url} lets us look into it")
        said = f"{blobs.url} is out of reach, or does not let us look into it"
    except SettingsError as error:
        said = str(error)
    fix = "see docs/object-store.md: its name, and the credentials of the environment"
    return Check("pictures", "problem", said, fix)


def _check_folder(about: str, name: str, folder: Path, fix: str) -> Check:
    """Try to write, and look at the room. `fix` is the advice for any error but a full disk."""
    try:
        try_writing(folder)
        free = shutil.disk_usage(folder).free
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        said = f"{name} cannot be written: {os.strerror(error.errno or 0)}"
        return Check(about, "problem", said, MAKE_ROOM if full else fix)
    said = f"{name} can be written, {free / 2**30:.1f} GiB are free"
    return Check(about, "problem", said, MAKE_ROOM) if free < SCARCE else Check(about, "ok", said)

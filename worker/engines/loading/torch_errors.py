"""Tells what an exception raised by the model comes from: the row, memory, the device, or torchvision."""

import sys
from importlib import import_module
from importlib.metadata import version

import torch

from shared.model_files import torchvision_install

# What a model or its processor raises when it is used in a way that it was not made for, or lacks a package
# or memory for. An OSError is the machine's own.
UNFIT = (
    *(RuntimeError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, AssertionError),
    *(NameError, ImportError, StopIteration, MemoryError),
)
OUT_OF_MEMORY = (
    "out of memory",
    "can't allocate memory",
    "not enough memory",
    # Raised as torch words that error where it may not ask the driver who has the memory: on a MIG slice.
    "NVML_SUCCESS ==",
    # Of cuBLAS, cuDNN and their like, which have no memory for their workspace or for themselves.
    "STATUS_ALLOC_FAILED",
    "CUBLAS_STATUS_NOT_INITIALIZED",
)
DEVICE = (
    "CUDA error",
    "STATUS_EXECUTION_FAILED",
    "HIP error",
    "device-side assert",
    "MPS backend",
    "NCCL",
    # Of errors of Triton and of CUDA's driver only these stick to the process: others are those of one call,
    # as of a launch that is too large.
    "illegal memory access",
    "illegal instruction",
    "invalid program counter",
    "misaligned address",
    "operation not supported on global/shared address space",
    "hardware stack error",
    "unspecified launch failure",
    "launch timed out",
    "uncorrectable ECC error",
)


def out_of_memory(error: Exception) -> bool:
    """On the CPU torch raises a plain RuntimeError that only its text tells apart."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in OUT_OF_MEMORY)


def device_broken(error: Exception) -> bool:
    """After such an error the process can compute nothing more; only a new one can."""
    if out_of_memory(error):
        return False
    if isinstance(error, torch.AcceleratorError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in DEVICE)


def torchvision_broken() -> str | None:
    """Why nothing of transformers can be imported, if that is a torchvision built for another torch."""
    try:
        import_module("torchvision")
    except ModuleNotFoundError:
        return None
    except (ImportError, OSError, RuntimeError) as error:
        own = f"torchvision {version('torchvision')} was built for another torch than {version('torch')}"
        remove = f"{sys.executable} -m pip uninstall -y torchvision"
        return f"{own} ({error}); mend it by `{remove} && {torchvision_install()}`."
    return None

"""Tells what an exception raised by the model comes from: the row, too little memory, or the device."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from worker.engines.continuous.refusal import Refusal

OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")
DEVICE = ("CUDA error", "HIP error", "device-side assert", "MPS backend", "NCCL")
# What a model raises when it is used in a way that it was not made for.
UNFIT = (RuntimeError, ValueError, TypeError, IndexError, KeyError, AttributeError)


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


@contextmanager
def rehearsing(what: str = "") -> Iterator[None]:
    """Turns the model's failure into a Refusal that begins with `what`, unless memory or device failed."""
    try:
        yield
    except UNFIT as error:
        if out_of_memory(error) or device_broken(error):
            raise
        raise Refusal(f"{what}{type(error).__name__}: {error}"[:300]) from error

"""Whose fault an exception out of the model is: the row's, the memory's, or the device's."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from worker.engines.continuous.refusal import Refusal

OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")
DEVICE = ("CUDA error", "HIP error", "device-side assert", "MPS backend", "NCCL")
# What a model raises that was not made for what is asked of it.
UNFIT = (RuntimeError, ValueError, TypeError, IndexError, KeyError, AttributeError)


def out_of_memory(error: Exception) -> bool:
    """torch tells so on the CPU by a RuntimeError's text only."""
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
    """What the model fails with is a Refusal that begins so, unless memory or device are at fault."""
    try:
        yield
    except UNFIT as error:
        if out_of_memory(error) or device_broken(error):
            raise
        raise Refusal(f"{what}{type(error).__name__}: {error}"[:300]) from error

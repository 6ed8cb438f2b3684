"""Whose fault an exception out of the model is: the row's, the memory's, or the device's."""

import torch

OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")
DEVICE = ("CUDA error", "HIP error", "device-side assert", "MPS backend", "NCCL")


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

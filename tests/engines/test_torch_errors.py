"""What torch and its libraries say is told apart: a lack of memory, a broken device, a row's own fault."""

import pytest
import torch

from worker.engines.loading.torch_errors import device_broken, out_of_memory

NO_MEMORY: list[Exception] = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    torch.AcceleratorError("CUDA error: out of memory"),
    RuntimeError(
        'NVML_SUCCESS == r INTERNAL ASSERT FAILED at "/pytorch/c10/cuda/CUDACachingAllocator.cpp":1154'
    ),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    RuntimeError("CUDA driver error: out of memory"),
    RuntimeError("Triton Error [CUDA]: out of memory"),
]
BROKEN: list[Exception] = [
    torch.AcceleratorError("CUDA error: an illegal memory access was encountered"),
    RuntimeError("CUDA driver error: unspecified launch failure"),
    RuntimeError("Triton Error [CUDA]: an illegal memory access was encountered"),
    RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
    RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm(handle)`"),
]


OWN: list[Exception] = [
    RuntimeError("shapes cannot be multiplied"),
    IndexError("out of range"),
    RuntimeError("Triton Error [CUDA]: invalid argument"),
    RuntimeError("CUDA driver error: invalid argument"),
]


@pytest.mark.parametrize(
    ("error", "memory", "broken"),
    [(error, at == 0, at == 1) for at, errors in enumerate((NO_MEMORY, BROKEN, OWN)) for error in errors],
    ids=str,
)
def test_only_a_row_s_own_fault_is_blamed_on_it_and_only_a_broken_device_ends_the_worker(
    error: Exception, memory: bool, broken: bool
) -> None:
    assert (out_of_memory(error), device_broken(error)) == (memory, broken)

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


@pytest.mark.parametrize("error", NO_MEMORY, ids=str)
def test_a_lack_of_memory_is_blamed_on_no_row_and_ends_no_worker(error: Exception) -> None:
    assert out_of_memory(error)
    assert not device_broken(error)


@pytest.mark.parametrize("error", BROKEN, ids=str)
def test_a_broken_device_is_blamed_on_no_row(error: Exception) -> None:
    assert device_broken(error)
    assert not out_of_memory(error)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("shapes cannot be multiplied"),
        IndexError("out of range"),
        RuntimeError("Triton Error [CUDA]: invalid argument"),
        RuntimeError("CUDA driver error: invalid argument"),
    ],
    ids=str,
)
def test_a_row_s_own_fault_neither_shrinks_the_batch_nor_ends_the_worker(error: Exception) -> None:
    assert (out_of_memory(error), device_broken(error)) == (False, False)

"""Why a model, or one request, cannot be computed beside others."""

from collections.abc import Iterator
from contextlib import contextmanager

from worker.engines.loading.torch_errors import UNFIT, device_broken, out_of_memory


class BatchingError(Exception):
    """The model does something that rows sharing a batch cannot bear; the message says what."""


@contextmanager
def as_batching_error(subject: str = "") -> Iterator[None]:
    """Unless memory or device failed, the model's failure is a BatchingError that begins with `subject`."""
    try:
        yield
    except UNFIT as error:
        if out_of_memory(error) or device_broken(error):
            raise
        raise BatchingError(f"{subject}{type(error).__name__}: {error}"[:300]) from error

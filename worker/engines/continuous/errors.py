"""Why a model, or one request, cannot be computed beside others."""

from collections.abc import Iterator
from contextlib import contextmanager

from worker.engines.loading.torch_errors import device_broken, out_of_memory

# What a model raises when it is used in a way that it was not made for. An OSError is the machine's own.
UNFIT = (
    *(RuntimeError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, AssertionError),
    *(NameError, ImportError, StopIteration),
)


class CannotBatch(Exception):  # noqa: N818 - an outcome, not an error
    """The model does something that rows sharing a batch cannot bear; the message says what."""


@contextmanager
def as_refusal(subject: str = "") -> Iterator[None]:
    """Turns the model's failure into a Refusal that begins with `subject`, unless memory or device failed."""
    try:
        yield
    except UNFIT as error:
        if out_of_memory(error) or device_broken(error):
            raise
        raise CannotBatch(f"{subject}{type(error).__name__}: {error}"[:300]) from error

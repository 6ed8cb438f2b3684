"""A device that computes on the CPU and refuses what a GPU refuses: operands that lie elsewhere.

Importing it registers the device `far` with torch, for the whole process: for child processes of tests alone.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

NAME = "far"
aten = torch.ops.aten
# Operations that move between devices, and those that take indexes from the CPU, as CUDA does.
MOVES = {aten._to_copy.default, aten.copy_.default}
INDEXES = {aten.index.Tensor, aten.index_put_.default, aten._index_put_impl_.default}


class Far(torch.Tensor):
    """Looks like a tensor of the device; `here` is the CPU tensor behind it."""

    here: torch.Tensor

    @staticmethod
    def __new__(cls, here: torch.Tensor) -> "Far":
        while isinstance(here, Far):
            here = here.here
        # Inference tensors have no versions, which views of weights are asked for.
        with torch.inference_mode(False):
            made: Far = torch.Tensor._make_wrapper_subclass(
                cls, here.size(), strides=here.stride(), dtype=here.dtype, device=torch.device(NAME, 0)
            )
        made.here = here
        return made

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, operation: Any, _types: Any, given: Sequence[Any] = (), named: dict[str, Any] | None = None
    ) -> Any:
        return _computed(operation, *given, **(named or {}))

    def __repr__(self, *, tensor_contents: Any = None) -> Any:  # type: ignore[override]
        return f"far {self.here!r}"

    def tolist(self) -> Any:
        return self.here.tolist()

    def numpy(self, *_: Any, **__: Any) -> Any:
        raise TypeError(f"can't convert {NAME}:0 device type tensor to numpy")

    __array__ = numpy


def _mapped(change: Callable[[Any], Any], value: Any) -> Any:
    """The value with its tensors changed, also those in lists. torch's `tree_map` takes much longer."""
    if isinstance(value, torch.Tensor):
        return change(value)
    return type(value)(_mapped(change, one) for one in value) if isinstance(value, list | tuple) else value


def _here(value: Any) -> Any:
    return value.here if isinstance(value, Far) else value


def _computed(operation: Any, *given: Any, **named: Any) -> Any:
    tensors = list[torch.Tensor]()

    def here(one: torch.Tensor) -> Any:
        tensors.append(one)
        return _here(one)

    given = _mapped(here, given)
    named = {name: _mapped(here, value) for name, value in named.items()}
    far = [one for one in tensors if isinstance(one, Far)]
    _check(operation, tensors, far)
    if operation is aten._fused_sdp_choice.default:
        return 0  # its kernels are for devices that torch knows
    goes_far = bool(far)
    if named.get("device") is not None:
        goes_far = torch.device(named["device"]).type == NAME
        named["device"] = torch.device("cpu")
    found = operation(*given, **named)
    if not goes_far:
        return found
    known = {id(one.here): one for one in far}
    # An operation that writes returns its own operand.
    return _mapped(lambda one: known[id(one)] if id(one) in known else Far(one), found)


def _check(operation: Any, tensors: Sequence[torch.Tensor], far: Sequence[Far]) -> None:
    if not far or operation in MOVES | INDEXES:
        return
    near = [tuple(one.shape) for one in tensors if not isinstance(one, Far) and one.dim()]
    if near:
        raise RuntimeError(
            f"expected all tensors to be on the same device: {operation} has {near} on the CPU"
        )


def _empty(size: Any, dtype: Any = None, *_: Any, **__: Any) -> Far:
    return Far(torch.empty(size, dtype=dtype))


def _empty_strided(size: Any, stride: Any, dtype: Any = None, *_: Any, **__: Any) -> Far:
    return Far(torch.empty_strided(size, stride, dtype=dtype))


def _copy_from(source: torch.Tensor, target: torch.Tensor, *_: Any) -> torch.Tensor:
    _here(target).copy_(_here(source))
    return target


class _Dice(torch.Generator):
    """A device's own generator; the numbers are the CPU's."""

    def __new__(cls, device: Any = "cpu") -> "_Dice":
        return super().__new__(cls, "cpu" if torch.device(device).type == NAME else device)  # type: ignore[call-arg]


class _Stream:
    """What is queued on the device: nothing, as the CPU has computed it."""

    def record_event(self) -> "_Stream":
        return self

    def synchronize(self) -> None:
        pass


_setup_privateuseone_for_python_backend(NAME)
torch.accelerator.current_stream = lambda _=None: _Stream()  # type: ignore[assignment,return-value]
torch.accelerator.synchronize = lambda _=None: None
torch.Generator = _Dice  # type: ignore[misc]
library: Any = torch.library.Library
# Kept: torch unregisters what a collected library registered.
_OPERATIONS, _ALL = library("aten", "IMPL"), library("_", "IMPL")
# What torch calls below `__torch_dispatch__`.
_BELOW: dict[str, Callable[..., Any]] = {
    "empty.memory_format": _empty,
    "empty_strided": _empty_strided,
    "_copy_from": _copy_from,
    "_local_scalar_dense": lambda one: _here(one).item(),
}
for _name, _kernel in _BELOW.items():
    _OPERATIONS.impl(_name, _kernel, "PrivateUse1")
_ALL.fallback(_computed, "PrivateUse1")

"""Attention of a batch's step: rows of like length in groups, and on a GPU one token's as two products.

Registered under transformers' own name, because models and masks choose by it. Outside of `attention_groups`,
and unless something was given to `expect`, nothing changes.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from transformers import AttentionInterface

from worker.engines.loading.attention import KIND, sdpa
from worker.engines.loading.devices import device_of
from worker.engines.loading.transformers_internals import attention_of

# Wasted columns, summed over rows, that cost as much as one more group. On one thread of an Intel Xeon, in a
# layer of 4 heads of 64 numbers, a column costs 0.2 us and a group 30 us.
WASTE = 256
_step = threading.local()


class AttentionGroup(NamedTuple):
    """Rows `start` to `end`; none of them is longer than `length`."""

    start: int
    end: int
    length: int


Attend = Callable[..., torch.Tensor]
"""`FlatLayer.attend`: it alone knows what its tokens attend to."""


def ours(network: Any) -> bool:
    """Whether the model computes its attention with `attend`."""
    return attention_of(network) == KIND


def divides(network: Any) -> bool:
    """Whether attention in groups is possible and saves time; a GPU would wait for the many small calls."""
    return device_of(network).type == "cpu" and ours(network)


def grouped(lengths: Sequence[int], waste: int) -> list[AttentionGroup]:
    """Groups of all rows in their order; adjacent groups merge if that wastes at most `waste` columns."""
    groups: list[AttentionGroup] = []
    for row, length in enumerate(lengths):
        group = AttentionGroup(row, row + 1, length)
        while groups and _wasted(groups[-1], group) <= waste:
            group = AttentionGroup(groups[-1].start, group.end, max(groups.pop().length, group.length))
        groups.append(group)
    return groups


def _wasted(one: AttentionGroup, other: AttentionGroup) -> int:
    """The columns that merging two groups adds for the rows of the shorter one."""
    shorter = min(one, other, key=lambda group: group.length)
    return (shorter.end - shorter.start) * abs(one.length - other.length)


@contextmanager
def attention_groups(groups: Sequence[AttentionGroup], behind: int) -> Iterator[None]:
    """The body is a batch's step on this thread; `behind` its column there are so many empty ones.

    The groups' lengths are without the step's token.
    """
    _step.groups, _step.behind = groups, behind
    try:
        yield
    finally:
        _step.groups = _step.expected = None


def expect(own: Attend) -> None:
    """Let `own` compute this thread's next call of `attend`."""
    _step.expected = own


def attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """In the place of transformers' own function: by what was given to `expect`, otherwise by `in_groups`."""
    expected, _step.expected = getattr(_step, "expected", None), None
    if expected is not None:
        return expected(module, query, **options), None
    return in_groups(module, query, key, value, attention_mask, **options), None


def in_groups(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: Any,
    **options: Any,
) -> torch.Tensor:
    """Attention in the groups given to `attention_groups`; all rows at once if there are fewer than two.

    A group gets a view of its columns: those before were masked for its rows anyway.
    """
    groups = getattr(_step, "groups", None) or ()
    if len(groups) < 2 or not _rowwise(query, key, mask, options):
        return _computed(module, query, key, value, mask, options)
    outputs, high = [], key.shape[2] - _step.behind
    for start, end, length in groups:
        own = slice(max(0, high - length - 1), high)
        part = key[start:end, :, own], value[start:end, :, own], mask[start:end, ..., own]
        outputs.append(_computed(module, query[start:end], *part, options))
    return torch.cat(outputs)


def _computed(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: Any,
    options: Any,
) -> torch.Tensor:
    in_batch = getattr(_step, "groups", None) is not None
    if in_batch and _faster_as_products(query, key, mask, options):
        return products(query, key, value, mask, options.get("scaling"))
    output: torch.Tensor = sdpa(module, query, key, value, mask, **options)[0]
    return output


def _rowwise(query: torch.Tensor, key: torch.Tensor, mask: Any, options: dict[str, Any]) -> bool:
    """Whether the mask hides, row by row, the columns that a group is not given."""
    if not torch.is_tensor(mask) or options.get("position_bias") is not None:
        return False
    return query.shape[2] == 1 and mask.shape[0] == query.shape[0] and mask.shape[-1] == key.shape[2]


def _faster_as_products(query: torch.Tensor, key: torch.Tensor, mask: Any, options: dict[str, Any]) -> bool:
    """torch's own function reads a row's columns on a GPU one behind the other where there is a mask.

    On an H100, 8 heads of 128 in bfloat16, one row of 8,192 columns takes 329 us, and 30 as products.
    """
    plain = not any(options.get(name) for name in ("dropout", "softcap"))
    plain = plain and options.get("position_bias") is None
    return plain and query.shape[2] == 1 and mask is not None and key.device.type == "cuda"


def products(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor, scaling: float | None
) -> torch.Tensor:
    """Attention [rows, 1, heads, width] of one token a row; scores are float32 up to the softmax.

    `mask` tells for each column whether it is seen, or is added.
    """
    rows, heads, _, width = query.shape
    shared = key.shape[1]
    # Heads that share keys are the rows of one product.
    queries, keys = query.reshape(rows * shared, -1, width), key.flatten(0, 1).transpose(1, 2)
    exact = query.dtype is torch.float32
    scores = torch.bmm(queries, keys) if exact else torch.bmm(queries, keys, out_dtype=torch.float32)
    scores = scores.view(rows, shared, heads // shared, -1)
    scores *= width**-0.5 if scaling is None else scaling
    if mask.shape[1] > 1:
        mask = mask.reshape(mask.shape[0], shared, -1, mask.shape[-1])
    scores = scores.masked_fill_(~mask, -torch.inf) if mask.dtype is torch.bool else scores.add_(mask)
    output: torch.Tensor = scores.softmax(-1).to(value.dtype) @ value
    return output.reshape(rows, 1, heads, -1)


AttentionInterface.register(KIND, attend)

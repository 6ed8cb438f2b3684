"""Attention in groups of rows of similar length; the rest of a step is computed for all rows at once.

All rows end at the same column, so a group of shorter rows needs the last columns only: it gets a view of
them and its share of the mask. The columns it is not given were masked for its rows anyway."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol

import torch
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from worker.engines.loading.devices import device_of

# Attention of one new token per row as two matrix products.
#
# torch's own function is made for many queries. For one token's it takes up to half as long again in float32
# on a CPU, over keys that are stored value by value. On a GPU, with a mask, it reads a row's columns one
# behind the other: on an H100, 8 heads of 128 in bfloat16, one row of 8,192 columns takes 329 us, and 30 as
# products; 64 rows of 2,048 take 260 and 244.
#
# Scores are float32 up to the softmax. A CPU has no such product in bfloat16: what a layer adds would be off
# by 1 % instead of 0.2.
#
# Only a batch's rows are computed so. `generate()`, by which a batch is judged, stays torch's own.


def stored(shape: tuple[int, ...], like: torch.Tensor) -> torch.Tensor:
    """Memory for keys [row, head, column, value]; the columns of one value lie side by side."""
    rows, heads, columns, width = shape
    return like.new_empty(rows, heads, width, columns).transpose(2, 3)


def gain(keys: torch.Tensor) -> bool:
    """Whether keys of this kind should be stored so."""
    return keys.device.type == "cpu" and keys.dtype is torch.float32


def possible(query: torch.Tensor, key: torch.Tensor, mask: Any, options: dict[str, Any]) -> bool:
    """Whether `attention` computes the same as torch's own function, and faster."""
    plain = (
        not options.get("dropout") and options.get("position_bias") is None and options.get("softcap") is None
    )
    by_value = key.stride(2) == 1 < key.stride(3) and gain(key)
    on_gpu = key.device.type == "cuda" and mask is not None
    return plain and query.shape[2] == 1 and (by_value or on_gpu)


def attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: Any, scaling: float | None
) -> torch.Tensor:
    """[rows, 1, heads, width]; `mask` is None, or tells for each column whether it is seen, or is added."""
    rows, heads, _, width = query.shape
    shared = key.shape[1]
    factor = width**-0.5 if scaling is None else scaling
    # Heads that share keys are the rows of one product.
    scores = _products(query.reshape(rows, shared, -1, width), key, factor)
    if mask is not None:
        if mask.shape[1] > 1:
            mask = mask.reshape(mask.shape[0], shared, -1, mask.shape[-1])
        scores = scores.masked_fill_(~mask, -torch.inf) if mask.dtype is torch.bool else scores.add_(mask)
    return (scores.softmax(-1).to(value.dtype) @ value).reshape(rows, 1, heads, -1)


def _products(query: torch.Tensor, key: torch.Tensor, factor: float) -> torch.Tensor:
    """Of each query with all keys of its row and head, times the factor, in float32."""
    if query.dtype is torch.float32:
        return query * factor @ key.transpose(2, 3)
    queries, keys = query.flatten(0, 1), key.flatten(0, 1)
    scores = torch.bmm(queries, keys.transpose(1, 2), out_dtype=torch.float32)
    return scores.mul_(factor).view(*query.shape[:3], -1)


# Decides which rows of a batch attend together, so that short rows do not pay for long ones.
#
# Without groups every row attends over as many columns as the longest row has. Adjacent rows of similar
# length form a group, which attends over the columns of its own longest row.

# Wasted columns, summed over rows, that cost as much as one more group. On one thread of an Intel Xeon, in a
# layer of 4 heads of 64 numbers, a column costs 0.2 us and a group 30 us.
WASTE = 256


class AttentionGroup(NamedTuple):
    """Rows `start` to `end`; none of them is longer than `length`."""

    start: int
    end: int
    length: int


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


KIND = "sdpa"
_step = threading.local()


class GroupedLayer(Protocol):
    """A cache layer that computes attention itself: only it knows what its tokens attend to."""

    def attend(self, module: torch.nn.Module, query: torch.Tensor, **options: Any) -> torch.Tensor:
        """The attention output as transformers' own function returns it, [1, tokens, heads, width]."""


def ours(network: Any) -> bool:
    """Whether the model computes its attention with `attend`."""
    return bool(network.config.get_text_config()._attn_implementation == KIND)


def divides(network: Any) -> bool:
    """Whether attention in groups is possible and saves time; a GPU would wait for the many small calls."""
    return device_of(network).type == "cpu" and ours(network)


@contextmanager
def attention_groups(groups: Sequence[AttentionGroup]) -> Iterator[None]:
    """The body is a batch's step on this thread; its rows attend in these groups, if there are any.

    The groups' lengths include the step's column.
    """
    _step.groups = groups
    try:
        yield
    finally:
        _step.groups = _step.layer = None


def expect(layer: GroupedLayer) -> None:
    """Let `layer` compute this thread's next call of `attend`."""
    _step.layer = layer


def attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """In the place of transformers' own function: by the layer given to `expect`, else by `in_groups`."""
    layer, _step.layer = getattr(_step, "layer", None), None
    if layer is not None:
        return layer.attend(module, query, **options), None
    return in_groups(module, query, key, value, attention_mask, **options)


def in_groups(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """Attention in the groups given to `attention_groups`; all rows at once if there are none."""
    groups = getattr(_step, "groups", None) or ()
    if len(groups) < 2 or not _rowwise(query, key, attention_mask, options):
        return _attend(module, query, key, value, attention_mask, options), None
    mask: Any = attention_mask
    outputs = [
        _attend(
            module,
            query[start:end],
            key[start:end, :, -length:],
            value[start:end, :, -length:],
            mask[start:end, ..., -length:],
            options,
        )
        for start, end, length in groups
    ]
    return torch.cat(outputs), None


def _attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    options: dict[str, Any],
) -> torch.Tensor:
    in_batch = getattr(_step, "groups", None) is not None
    if in_batch and possible(query, key, mask, options):
        return attention(query, key, value, mask, options.get("scaling"))
    output: torch.Tensor = sdpa_attention_forward(module, query, key, value, mask, **options)[0]
    return output


def _rowwise(query: torch.Tensor, key: torch.Tensor, mask: Any, options: dict[str, Any]) -> bool:
    """Whether the mask hides, row by row, the columns that a group is not given."""
    if not torch.is_tensor(mask) or options.get("position_bias") is not None:
        return False
    return query.shape[2] == 1 and mask.shape[0] == query.shape[0] and mask.shape[-1] == key.shape[2]


# Registered under transformers' own name, because models and masks choose by it. Without
# `attention_groups` and `expect` nothing changes.
AttentionInterface.register(KIND, attend)

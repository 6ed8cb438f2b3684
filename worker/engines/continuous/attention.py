"""Attention in groups of rows of similar length; the rest of a step is computed for all rows at once.

All rows end at the same column, so a group of shorter rows needs the last columns only: it gets a view of
them and its share of the mask. The columns it is not given were masked for its rows anyway.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from worker.engines.continuous import products
from worker.engines.continuous.groups import Group
from worker.engines.placement import device_of

KIND = "sdpa"
_step = threading.local()


class Layer(Protocol):
    """A cache layer that computes attention itself: only it knows what its tokens attend to."""

    def attend(self, module: torch.nn.Module, query: torch.Tensor, **how: Any) -> torch.Tensor:
        """The attention output as transformers' own function returns it, [1, tokens, heads, width]."""


def ours(network: Any) -> bool:
    """Whether the model computes its attention with `attend`."""
    return bool(network.config.get_text_config()._attn_implementation == KIND)


def divides(network: Any) -> bool:
    """Whether attention in groups is possible and saves time; a GPU would wait for the many small calls."""
    return device_of(network).type == "cpu" and ours(network)


@contextmanager
def apart(groups: Sequence[Group]) -> Iterator[None]:
    """Rows attend in these groups on this thread meanwhile; the groups' lengths include the step's column."""
    _step.groups = groups
    try:
        yield
    finally:
        _step.groups, _step.layer = (), None


def expect(layer: Layer) -> None:
    """Let `layer` compute this thread's next call of `attend`."""
    _step.layer = layer


def attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    **how: Any,
) -> tuple[torch.Tensor, None]:
    """In the place of transformers' own function: by the layer given to `expect`, else by `in_groups`."""
    layer, _step.layer = getattr(_step, "layer", None), None
    if layer is not None:
        return layer.attend(module, query, **how), None
    return in_groups(module, query, key, value, attention_mask, **how)


def in_groups(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    **how: Any,
) -> tuple[torch.Tensor, None]:
    """Attention in the groups given to `apart`; all rows at once if there are none."""
    groups = getattr(_step, "groups", ())
    if len(groups) < 2 or not _rowwise(query, key, attention_mask, how):
        return _together(module, query, key, value, attention_mask, how), None
    mask: Any = attention_mask
    found = [
        _together(
            module,
            query[start:end],
            key[start:end, :, -length:],
            value[start:end, :, -length:],
            mask[start:end, ..., -length:],
            how,
        )
        for start, end, length in groups
    ]
    return torch.cat(found), None


def _together(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    how: dict[str, Any],
) -> torch.Tensor:
    if products.possible(query, key, how):
        return products.attention(query, key, value, mask, how.get("scaling"))
    found: torch.Tensor = sdpa_attention_forward(module, query, key, value, mask, **how)[0]
    return found


def _rowwise(query: torch.Tensor, key: torch.Tensor, mask: Any, how: dict[str, Any]) -> bool:
    """Whether the mask hides, row by row, the columns that a group is not given."""
    if not torch.is_tensor(mask) or how.get("position_bias") is not None:
        return False
    return query.shape[2] == 1 and mask.shape[0] == query.shape[0] and mask.shape[-1] == key.shape[2]


# Registered under transformers' own name, because models and masks choose by it. Without `apart` and `expect`
# nothing changes.
AttentionInterface.register(KIND, attend)

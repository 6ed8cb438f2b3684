"""Attention of rows in groups of like length; everything else of a step is computed for all rows at once.

All rows end at the same column, so a shorter group's columns are the last ones: it is shown a view of them,
and its share of the mask. What it does not see it was masked from.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from worker.engines.continuous.groups import Group

KIND = "sdpa"
_step = threading.local()


class Layer(Protocol):
    """A layer of a cache that knows better than the model what its tokens attend to."""

    def attend(self, module: torch.nn.Module, query: torch.Tensor, **how: Any) -> torch.Tensor:
        """As transformers' own attention returns it, [1, tokens, heads, width]."""


def ours(network: Any) -> bool:
    """Whether it attends by what is here."""
    return bool(network.config.get_text_config()._attn_implementation == KIND)


def divides(network: Any) -> bool:
    """Whether its attention can be divided, and gains by it: a GPU would wait for many small calls."""
    return network.device.type == "cpu" and ours(network)


@contextmanager
def apart(groups: Sequence[Group]) -> Iterator[None]:
    """On this thread, while it lasts, rows attend in these groups; their lengths count the step's column."""
    _step.groups = groups
    try:
        yield
    finally:
        _step.groups, _step.layer = (), None


def expect(layer: Layer) -> None:
    """What this thread attends to next is the layer's to say."""
    _step.layer = layer


def attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    **how: Any,
) -> tuple[torch.Tensor, None]:
    """As transformers' own, for one new column of each row, or for what a layer has said."""
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
    """Those that `apart` was told of; all together else."""
    groups = getattr(_step, "groups", ())
    if len(groups) < 2 or not _rowwise(query, key, attention_mask, how):
        whole: tuple[torch.Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, **how
        )
        return whole
    mask: Any = attention_mask
    found = [
        sdpa_attention_forward(
            module,
            query[start:end],
            key[start:end, :, -length:],
            value[start:end, :, -length:],
            mask[start:end, ..., -length:],
            **how,
        )[0]
        for start, end, length in groups
    ]
    return torch.cat(found), None


def _rowwise(query: torch.Tensor, key: torch.Tensor, mask: Any, how: dict[str, Any]) -> bool:
    """Whether what is left out by a group is masked for each of its rows."""
    if not torch.is_tensor(mask) or how.get("position_bias") is not None:
        return False
    return query.shape[2] == 1 and mask.shape[0] == query.shape[0] and mask.shape[-1] == key.shape[2]


# The name stays, because models and masks choose by it. Outside of `apart` nothing changes.
AttentionInterface.register(KIND, attend)

"""What a model's cache keeps of one row: keys and values per token, and recurrent states of all its tokens.

These are views into the cache that computed them, or copies. Neither is ever written to, except that a view
of the batch is valid only until a row joins, leaves or takes a step."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers.cache_utils import (
    DummyLayer,
    DynamicCache,
    DynamicSlidingWindowLayer,
    LinearAttentionLayer,
)

from worker.engines.continuous.model_inputs import EncodedPictures

MOST_TOGETHER = 2**26
"""Bytes copied into one memory. More takes long anyhow, and there may be no room for it in one piece."""

STATES = ("conv_states", "recurrent_states")

Columns = tuple[torch.Tensor, torch.Tensor]
"""One layer's keys and values, each [1, heads, tokens, width]."""

STATE_FACTS = (
    "is_conv_states_initialized",
    "is_recurrent_states_initialized",
    "has_previous_state",
    "conv_kernel_size",
)


@dataclass(frozen=True)
class RecurrentState:
    """A copy of one layer's convolution and recurrent states, and of the layer's own facts about them."""

    tensors: dict[str, dict[int, torch.Tensor]]
    facts: dict[str, Any]
    dtype: torch.dtype
    device: torch.device

    @classmethod
    def of(cls, layer: Any, row: int = 0) -> "RecurrentState":
        tensors = {
            name: {at: tensor[row : row + 1].clone() for at, tensor in states.items() if tensor is not None}
            for name, states in ((name, getattr(layer, name)) for name in STATES)
        }
        facts = {fact: dict(getattr(layer, fact)) for fact in STATE_FACTS}
        return cls(tensors, facts, layer.dtype, layer.device)

    def fill(self, layer: Any) -> None:
        """Copy the states into the layer; a copy, because the layer overwrites its states at every step."""
        for name, states in self.tensors.items():
            getattr(layer, name).update({at: tensor.clone() for at, tensor in states.items()})
        for fact, value in self.facts.items():
            setattr(layer, fact, dict(value))
        layer.dtype, layer.device = self.dtype, self.device

    @property
    def bytes(self) -> int:
        return sum(tensor.nbytes for states in self.tensors.values() for tensor in states.values())


@dataclass(frozen=True)
class KVSlices:
    """The cache of a row's first tokens: columns of the layers that have them, states of the others."""

    columns: tuple[Columns, ...]
    states: tuple[RecurrentState, ...] = ()

    @classmethod
    def of(cls, cache: Any) -> "KVSlices":
        """The past of the only row of a dynamic cache that was passed to `record`."""
        columns, states = list[Columns](), list[RecurrentState]()
        for layer in cache.layers:
            if isinstance(layer, LinearAttentionLayer):
                states.append(RecurrentState.of(layer))
            elif not isinstance(layer, DummyLayer):
                columns.append((layer.keys, layer.values))
        return cls(tuple(columns), tuple(states))

    def row(self, at: int, start: int, end: int) -> "KVSlices":
        """A view of columns `start` to `end` of row `at`."""
        return KVSlices(
            tuple(
                (keys[at : at + 1, :, start:end], values[at : at + 1, :, start:end])
                for keys, values in self.columns
            )
        )

    def fill(self, cache: Any) -> None:
        """Put it into a dynamic cache, replacing what that holds."""
        if not cache.layers:
            # Without layers in the model's config the cache makes each when its first tokens come.
            for number, (keys, values) in enumerate(self.columns):
                cache.update(keys, values, number)
            return
        columns, states = iter(self.columns), iter(self.states)
        for layer in cache.layers:
            if isinstance(layer, LinearAttentionLayer):
                next(states).fill(layer)
            elif not isinstance(layer, DummyLayer):
                _fill(layer, *next(columns))


def record(cache: Any) -> None:
    """Let sliding-window layers keep what has left the window: a later prompt may branch off before it.

    It costs the batch nothing: its layers are as wide as the longest row anyway.
    """
    for layer in cache.layers if isinstance(cache, DynamicCache) else ():
        if isinstance(layer, DynamicSlidingWindowLayer):
            layer.activate_past_recording()  # type: ignore[no-untyped-call]


def cut(columns: Iterable[Columns], start: int, end: int) -> tuple[Columns, ...]:
    """A copy of some tokens' columns."""
    copied = iter(_copies([part[:, :, start:end] for layer in columns for part in layer]))
    return tuple(zip(copied, copied, strict=True))


def _copies(parts: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """On a GPU small ones of one shape lie in one memory: one call copies all layers."""
    if sum(part.nbytes for part in parts) > MOST_TOGETHER or any(part.device.type == "cpu" for part in parts):
        return [part.clone() for part in parts]
    alike = defaultdict[Any, list[int]](list)
    for at, part in enumerate(parts):
        alike[part.shape, part.dtype, part.device].append(at)
    copied: dict[int, torch.Tensor] = {}
    for places in alike.values():
        together = torch.cat([parts[at] for at in places])
        copied.update(zip(places, torch.split(together, len(parts[places[0]])), strict=True))
    return [copied[at] for at in range(len(parts))]


def joined(pieces: Sequence[Sequence[Columns]]) -> tuple[Columns, ...]:
    """The columns of consecutive pieces, copied into one."""
    return tuple(
        (torch.cat([keys for keys, _ in layer], dim=2), torch.cat([values for _, values in layer], dim=2))
        for layer in zip(*pieces, strict=True)
    )


def stacked_rows(pasts: Sequence[KVSlices | None]) -> KVSlices | None:
    """Several pasts as the rows of one, ending at the same column; None if there is none.

    A row is filled up with zeros on the left. Pasts with states cannot be combined.
    """
    if len(pasts) == 1:
        return pasts[0]
    columns = [past.columns for past in pasts if past is not None]
    if not columns:
        return None
    places = [at for at, past in enumerate(pasts) if past is not None]
    return KVSlices(
        tuple(
            (
                _aligned([keys for keys, _ in layer], places, len(pasts)),
                _aligned([values for _, values in layer], places, len(pasts)),
            )
            for layer in zip(*columns, strict=True)
        )
    )


def size(columns: Iterable[Columns]) -> int:
    """Bytes."""
    return sum(keys.nbytes + values.nbytes for keys, values in columns)


def _fill(layer: Any, keys: torch.Tensor, values: torch.Tensor) -> None:
    layer.lazy_initialization(keys, values)
    layer.keys, layer.values = keys, values
    if isinstance(layer, DynamicSlidingWindowLayer):
        layer.cumulative_length = keys.shape[2]


def _aligned(tensors: Sequence[torch.Tensor], places: Sequence[int], rows: int) -> torch.Tensor:
    _, heads, _, width = tensors[0].shape
    tokens = max(row.shape[2] for row in tensors)
    aligned = tensors[0].new_zeros(rows, heads, tokens, width)
    for at, row in zip(places, tensors, strict=True):
        aligned[at, :, tokens - row.shape[2] :] = row[0]
    return aligned


# The part of a prompt that is known already and need not be computed.


@dataclass(frozen=True)
class KnownPrefix:
    """What is known of a prompt: its first `start` tokens, and the encoded pictures after these.

    `inputs` are what `generate()` takes for the whole prompt, with pixels if it has to encode the pictures.
    Otherwise `pictures` holds all pictures except those of the first `skipped` placeholders, if any are left.
    `logits` [1, vocabulary] are present if the whole prompt is known.
    """

    inputs: dict[str, Any]
    start: int = 0
    past: KVSlices | None = None
    logits: torch.Tensor | None = None
    pictures: EncodedPictures | None = None
    skipped: int = 0

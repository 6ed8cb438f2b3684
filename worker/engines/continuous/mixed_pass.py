"""Computes a step of the batch and chunks of prompts in one forward pass, to read the weights once for both.

All tokens lie in one row: one token of each row of the batch, then the tokens of each chunk.

    token    a   b   c   p   p   p   q   q   -      a, b, c: rows; p, q: chunks; -: padding

Layers that compute token by token need no change. Attention is given different columns for each part: the
batch's own for its rows, and those of its prompt for a chunk. vLLM lays tokens out likewise.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch
from torch.nn.functional import pad
from transformers.cache_utils import Cache, CacheLayerMixin
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from worker.engines.continuous.attention import expect, in_groups, ours
from worker.engines.continuous.errors import BatchingError
from worker.engines.continuous.kv_cache import AlignedLayer, BatchCache
from worker.engines.continuous.kv_slices import Columns, KVSlices
from worker.engines.continuous.model_inputs import ENCODED, KEPT, alike, merged
from worker.engines.continuous.prefill import PassShare
from worker.engines.continuous.shared_pass import filled, grain


@dataclass(frozen=True)
class PromptSpan:
    """A chunk's place in the pass, `start` to `end`; `mask` is None if the chunk begins its prompt."""

    start: int
    end: int
    mask: torch.Tensor | None

    @classmethod
    def of(cls, start: int, share: PassShare, device: torch.device) -> "PromptSpan":
        """Its mask is on `device`."""
        tokens = share.end - share.start
        columns = (
            torch.arange(share.end, device=device)
            <= torch.arange(share.start, share.end, device=device)[:, None]
        )
        return cls(start, start + tokens, columns[None, None] if share.start else None)


class MixedLayer(CacheLayerMixin):
    """One model layer's cache during the pass; it gives attention the keys and values of each part.

    Those of the rows are written into the batch's own layer at once, in the step's column; those of the
    chunks wait in `columns` until the pass is over.
    """

    def __init__(
        self,
        rows: AlignedLayer,
        mask: torch.Tensor,
        spans: Sequence[PromptSpan],
        pasts: Sequence[Columns | None],
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.is_initialized = True
        self.columns: list[Columns] = []
        self._batch = rows
        self._mask = mask
        self._spans = spans
        self._pasts = pasts
        self._rows: Columns

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Nothing to do."""

    def get_max_length(self) -> int:
        return -1

    def get_seq_length(self) -> int:
        return 0

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return query_length, 0

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: object, **__: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        new, count = (key_states, value_states), len(self._mask)
        keys, values = (one[0, :, :count].transpose(0, 1)[:, :, None] for one in new)
        self._rows = self._batch.update(keys, values)
        self.columns = [
            _append(past, [one[:, :, span.start : span.end] for one in new])
            for span, past in zip(self._spans, self._pasts, strict=True)
        ]
        expect(self)
        return new

    def attend(self, module: torch.nn.Module, query: torch.Tensor, **options: Any) -> torch.Tensor:
        """Attention part by part.

        Raises BatchingError if more than the tokens' order decides what they see.
        """
        if options.get("position_bias") is not None or options.get("sliding_window") is not None:
            raise BatchingError("its attention has a bias or a window")
        count = len(self._mask)
        rows = query[0, :, :count].transpose(0, 1)[:, :, None]
        outputs = [in_groups(module, rows, *self._rows, self._mask, **options)[0].transpose(0, 1)]
        for span, columns in zip(self._spans, self.columns, strict=True):
            part = query[:, :, span.start : span.end]
            outputs.append(sdpa_attention_forward(module, part, *columns, span.mask, **options)[0])
        out = torch.cat(outputs, dim=1)
        return pad(out, (0, 0, 0, 0, 0, query.shape[2] - out.shape[1]))


class MixedPass:
    """One such pass. Until it is over, no row's and no prompt's past has changed."""

    def __init__(self, network: Any, cache: BatchCache, shares: Sequence[PassShare]) -> None:
        """The batch must have room for the step's column. Raises BatchingError."""
        layers = _layers(network, cache, shares[0])
        self._network = network
        mask = cache.window.mask(shares[0].ids.device).bool()[:, None, None]
        starts = accumulate((share.end - share.start for share in shares[:-1]), initial=cache.window.rows)
        placed = [*zip(starts, shares, strict=True)]
        # A model may be spread over devices, and what moves a layer's inputs does not know these masks.
        masks = {
            device: (mask.to(device), [PromptSpan.of(start, share, device) for start, share in placed])
            for device in {layer.keys.device for layer in layers}
        }
        self.spans = masks[layers[0].keys.device][1]
        pasts = zip(*(_columns(share, len(layers)) for share in shares), strict=True)
        self._layers = [
            MixedLayer(layer, *masks[layer.keys.device], past)
            for layer, past in zip(layers, pasts, strict=True)
        ]
        self._shares = shares

    def inputs(
        self, tokens: Sequence[int], positions: torch.Tensor, extras: Mapping[str, Any]
    ) -> dict[str, Any]:
        """The model's inputs, made as the chunked branch of `GenerationMixin._prefill` does.

        Raises BatchingError. The rows' `positions` are [..., rows, 1], the tensors in their `extras`
        [rows, 1]. They ask for the logits of each row and of each chunk's last token.
        """
        own = {name: value for name, value in extras.items() if torch.is_tensor(value)}
        if own.keys() != self._shares[0].types.keys():
            raise BatchingError("its rows have inputs of their own while decoding")
        shares, device = self._shares, positions.device
        length = self.spans[-1].end
        behind = filled(length, grain(self._network)) - length
        arguments = dict(shares[0].rest)
        wanted = [*range(len(tokens)), *(span.end - 1 for span in self.spans)]
        arguments[KEPT] = torch.tensor(wanted, device=device)
        for name, kinds in own.items():
            chunks = [share.types[name][:, share.start :] for share in shares]
            arguments[name] = pad(torch.cat([kinds.transpose(0, 1), *chunks], dim=1), (0, behind))
        ids = torch.cat([torch.tensor([tokens], device=device), *(share.ids for share in shares)], dim=1)
        due = alike([positions.transpose(-1, -2), *(share.positions for share in shares)])
        inputs: dict[str, Any] = self._network.prepare_inputs_for_generation(
            pad(ids, (0, behind), value=shares[0].filler),
            is_first_iteration=True,
            past_key_values=Cache(layers=list(self._layers)),
            position_ids=pad(torch.cat(due, dim=-1), (0, behind)),
            attention_mask=None,
            **arguments,
        )
        pictures = [share.pictures for share in shares if share.pictures is not None]
        if pictures:
            inputs[ENCODED] = {"image": merged(pictures).output()}
        return inputs

    def pasts(self) -> list[KVSlices]:
        """The keys and values of each prompt after the pass."""
        return [
            KVSlices(tuple(columns))
            for columns in zip(*(layer.columns for layer in self._layers), strict=True)
        ]


def _layers(network: Any, cache: BatchCache, share: PassShare) -> list[AlignedLayer]:
    """The batch's layers. Raises BatchingError if attention or the choice of logits cannot be controlled."""
    if not ours(network):
        raise BatchingError("its attention is not sdpa")
    if KEPT not in share.rest:
        raise BatchingError(f"it takes no {KEPT}")
    layers = [layer for layer in cache.layers if isinstance(layer, AlignedLayer) and not layer.is_sliding]
    if len(layers) < len(cache.layers):
        raise BatchingError("its cache has layers with windows or states")
    return layers


def _columns(share: PassShare, layers: int) -> Sequence[Columns | None]:
    return share.past.columns if share.past else [None] * layers


def _append(past: Columns | None, new: Sequence[torch.Tensor]) -> Columns:
    keys, values = new if past is None else (torch.cat(both, dim=2) for both in zip(past, new, strict=True))
    return keys, values

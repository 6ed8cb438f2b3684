"""Computes prompts: each in a cache of its own, some tokens at a time, until it can join the batch.

transformers' own `generate()` prepares the prompt (positions, cache, pictures, as the model family needs
them) and calls `_capture` instead of decoding. `flat_pass` computes the next tokens of several prompts, and
those of rows that decode, in one forward pass, so that the weights are read once for all:

    token    a   b   c   p   p   p   q   q   -      a, b, c: rows; p, q: prompts; -: padding

Layers that compute token by token need no change; attention is given each part's own columns. vLLM lays
tokens out likewise.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from itertools import accumulate, pairwise
from typing import Any

import torch
from torch.nn.functional import pad
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList
from transformers.cache_utils import (
    Cache,
    CacheLayerMixin,
    DynamicCache,
    DynamicLayer,
    DynamicSlidingWindowLayer,
    LinearAttentionLayer,
)
from transformers.modeling_outputs import CausalLMOutputWithPast

from worker.engines.continuous.attention import expect, in_groups, ours
from worker.engines.continuous.kv_cache import BatchingError, KVLayer, Past
from worker.engines.loading import transformers_internals as internals
from worker.engines.loading.attention import sdpa

# Arguments that generate() passes to a decoding method but no forward pass takes.
MODE = ("tokenizer", "streamer", "synced_gpus", "assistant_model")
TYPES = ("token_type_ids", "mm_token_type_ids", "moe_mm_token_type_ids")
ENCODED = "mm_encoder_outputs"
KEPT = "logits_to_keep"
POOLED, DEEP = "pooler_output", "deepstack_features"
MEDIA = ("image", "video", "audio")
PIXELS = internals.MEDIA_INPUTS - {ENCODED}
# Not needed to decode once the positions are given.
GIVEN = {
    *("input_ids", "inputs_embeds", "past_key_values", "position_ids", "attention_mask", ENCODED),
    *("image_grid_thw", "video_grid_thw", "second_per_grid_ts"),
}
# oneDNN compiles code for each number of tokens that it meets, 2 to 5 ms for each shape of weights; the
# tokens in one AMX tile cost the same.
TILE = 16


class CutPoints(Enum):
    """Where a model's prompts may be cut without changing what it computes."""

    ANYWHERE = "anywhere"
    AROUND_PICTURES = "around pictures"
    NOWHERE = "nowhere"


@dataclass(frozen=True)
class KnownPrompt:
    """What `generate()` takes of a prompt, of which the first `start` tokens are known as `past`.

    `encoded` are its encoded media by kind, where they need not be encoded; those of the first `skipped`
    placeholders of pictures are missing.
    """

    inputs: dict[str, Any]
    start: int = 0
    past: Past | None = None
    encoded: dict[str, Any] | None = None
    skipped: int = 0


class Prefill:
    """One prompt. Once `done` is its `length`, it has `logits` [1, vocabulary] and can join the batch.

    `positions` [..., 1, 1] and `extras` are then the inputs of the row's next token; positions may have axes
    before the row's, as those of pictures.
    """

    logits: torch.Tensor
    positions: torch.Tensor
    extras: dict[str, Any]

    def __init__(
        self,
        network: Any,
        known: KnownPrompt,
        config: GenerationConfig,
        cut_points: CutPoints = CutPoints.ANYWHERE,
        pause: int = 0,
    ) -> None:
        """Encodes the prompt's media that are not known. Where there are recurrent states, a chunk ends at
        `pause`, so that they can be kept. Raises BatchingError.
        """
        self.network = network
        encoded = {ENCODED: known.encoded} if known.encoded else {}
        # Positions are made for the whole prompt and without a cache: with one, some families continue from
        # the positions of the request that the model has seen last.
        self.ids, self._config, self.given = network.generate(
            **known.inputs, **encoded, generation_config=config, custom_generate=_capture
        )
        self.length: int = self.ids.shape[1]
        self.done = known.start
        self.cache: Any = self.given.get("past_key_values")
        _keep_past(self.cache)
        if known.past is not None:
            known.past.fill(self.cache)
        self._find_placeholders(known.skipped)
        self._cuts = [cut_points is CutPoints.ANYWHERE] * self.length
        if not self._cuttable():
            self._cuts = [False] * self.length
        elif cut_points is CutPoints.AROUND_PICTURES:
            self._cuts = [not (here and before) for before, here in pairwise([False, *self._shown])]
        recurrent = any(isinstance(layer, LinearAttentionLayer) for layer in _layers(self.cache))
        self.pause = pause if recurrent and pause < self.length and self._cuts[pause] else 0
        self.types = [name for name in TYPES if self.given.get(name) is not None]
        self.rest = {k: v for k, v in self.given.items() if k not in GIVEN and k not in TYPES}

    def end(self, tokens: int) -> int:
        """Where the next chunk ends: at the first possible cut after at least `tokens` more."""
        wanted = self.done + max(1, tokens)
        end = next((end for end in range(wanted, self.length) if self._cuts[end]), self.length)
        return self.pause if self.done < self.pause < end else end

    @cached_property
    def flat(self) -> bool:
        """Whether `flat_pass` can compute it: each token attends to all before it, and to nothing else."""
        return (
            all(self._cuts)
            and ours(self.network)
            and KEPT in self.rest
            and not self._shown[-1]
            and type(self.cache) is DynamicCache
            and len(self.cache.layers) > 0
            and all(type(layer) is DynamicLayer for layer in self.cache.layers)
            and not any(torch.is_tensor(value) for value in self.rest.values())
        )

    def joins(self, other: "Prefill") -> bool:
        """Whether one flat pass can compute both."""
        return self.flat and other.flat and self.rest == other.rest and self.types == other.types

    def processors(self, own: Sequence[LogitsProcessor]) -> LogitsProcessorList:
        """The processors that `generate()` would make for a row with this prompt and config, with `own`."""
        return internals.logits_processors(self.network, self._config, self.ids, own, self.given)

    def advance(self, end: int) -> None:
        """Compute up to `end`, by itself. Raises BatchingError."""
        if self.done == 0 and end == self.length:
            outputs = internals.prefill(self.network, self.ids, self._config, self.given)
        else:
            outputs = self._chunk(end)
        self.take(end, outputs.logits, outputs.past_key_values)

    def rewind(self) -> None:
        """After a flat pass that failed: some layers may hold its tokens, and drop them."""
        for layer in self.cache.layers:
            layer.crop(self.done - layer.get_seq_length())

    def take(self, end: int, logits: torch.Tensor, cache: Any) -> None:
        """A pass has computed it up to `end`; `logits` [1, tokens, vocabulary] end with that token's."""
        self.cache = self.given["past_key_values"] = cache
        if end == self.length:
            self.logits = logits[:, -1].to(copy=True, dtype=torch.float32)
            self._next_inputs(CausalLMOutputWithPast(logits=logits, past_key_values=cache))
        self.done = end

    def encoded(self, end: int) -> dict[str, Any]:
        """What the encoders made of the next tokens, up to `end`, by kind."""
        found = {}
        for kind, output in (self.given.get(ENCODED) or {}).items():
            places = self._places[kind]
            first, last = (bisect_left(places, at) for at in (self.done, end))
            if last - first == len(places) > 0:
                found[kind] = output
            elif last > first:
                found[kind] = internals.encoder_rows(
                    output, torch.arange(first, last, device=self.ids.device)
                )
        return found

    def _find_placeholders(self, skipped: int) -> None:
        """Which tokens are placeholders, and by kind those that the encoders' output is for."""
        media = {kind: getattr(self.network.config, f"{kind}_token_id", None) for kind in MEDIA}
        ids: list[int] = self.ids[0].tolist()
        self._shown = [id_ in media.values() for id_ in ids]
        self.filler = ids[-1]
        self._places = {
            kind: [at for at, id_ in enumerate(ids) if id_ == media.get(kind)]
            for kind in self.given.get(ENCODED) or {}
        }
        if skipped:
            self._places["image"] = self._places["image"][skipped:]

    def _cuttable(self) -> bool:
        """Whether positions are given, and media, if any, can be passed to the model in parts."""
        if self.given.get("position_ids") is None or any(name in self.given for name in PIXELS):
            return False
        encoded = self.given.get(ENCODED) or {}
        return all(_rows(output) == len(self._places[kind]) for kind, output in encoded.items())

    def _chunk(self, end: int) -> Any:
        """As the chunked branch of `GenerationMixin._prefill` does for all in one call."""
        arguments = {name: value for name, value in self.given.items() if name != ENCODED}
        arguments["attention_mask"] = None
        arguments["position_ids"] = self.given["position_ids"][..., self.done : end]
        arguments.update({name: self.given[name][..., :end] for name in self.types})
        inputs = self.network.prepare_inputs_for_generation(
            self.ids[:, self.done : end], is_first_iteration=True, **arguments
        )
        if encoded := self.encoded(end):
            inputs[ENCODED] = encoded
        return self.network(**inputs, return_dict=True)

    def _next_inputs(self, outputs: Any) -> None:
        arguments = internals.next_inputs(self.network, outputs, self.given)
        # Only the inputs' shapes matter here, so any token can stand for the next one, not known yet.
        inputs = self.network.prepare_inputs_for_generation(
            torch.cat([self.ids, self.ids[:, -1:]], dim=-1),
            next_sequence_length=1,
            is_first_iteration=False,
            **arguments,
        )
        # EXAONE 4.5 counts the tokens of its cache instead.
        positions = inputs.get("position_ids")
        self.positions = self.ids.new_tensor([[self.length]]) if positions is None else positions
        self.extras = {k: v for k, v in inputs.items() if k not in GIVEN and v is not None}
        for name, value in self.extras.items():
            if torch.is_tensor(value) and not (value.ndim >= 2 and value.shape[0] == value.shape[-1] == 1):
                raise BatchingError(f"its input {name} has no row of its own while decoding")


def _capture(
    network: Any,  # noqa: ARG001
    input_ids: torch.Tensor,
    logits_processor: Any = None,  # noqa: ARG001
    stopping_criteria: Any = None,  # noqa: ARG001
    generation_config: Any = None,
    **given: Any,
) -> tuple[torch.Tensor, Any, dict[str, Any]]:
    """Called by `generate()` in the place of decoding.

    Once all media are encoded, numbers per picture tell nothing more (Molmo2's `image_num_crops`). Pixels may
    have a name that only their model knows.
    """
    if input_ids.shape[0] != 1 or generation_config.num_beams > 1 or not generation_config.use_cache:
        raise BatchingError("its generation config asks for beams or for no cache")
    if given.get("encoder_outputs") is not None:
        raise BatchingError("it is an encoder-decoder")
    given = {name: value for name, value in given.items() if name not in MODE}
    if not any(name in PIXELS or numbers(value) for name, value in given.items()):
        given = {k: v for k, v in given.items() if not (torch.is_tensor(v) and v.ndim == 1)}
    return input_ids, generation_config, given


def numbers(value: Any) -> bool:
    """Whether it may be pixels, or the bytes of some."""
    return torch.is_tensor(value) and (value.is_floating_point() or value.dtype == torch.uint8)


def alike(positions: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Positions with as many planes each.

    Prompts of MiniCPM-V 4.7 have [planes, 1, tokens] where they have pictures, [1, tokens] where not.
    """
    planes = max((one.shape[:-2] for one in positions), key=lambda shape: (len(shape), shape))
    return [one.expand(*planes, *one.shape[-2:]) for one in positions]


def _layers(cache: Any) -> Sequence[Any]:
    return cache.layers if isinstance(cache, DynamicCache) else ()


def _keep_past(cache: Any) -> None:
    """Let sliding-window layers keep what has left the window: a later prompt may branch off before it."""
    for layer in _layers(cache):
        if isinstance(layer, DynamicSlidingWindowLayer):
            layer.activate_past_recording()  # type: ignore[no-untyped-call]


def _rows(output: Any) -> int:
    """Rows of an encoder's output; -1 where transformers cannot take it apart."""
    features = output.get(POOLED)
    return -1 if features is None else sum(one.numel() // one.shape[-1] for one in features)


class FlatLayer(CacheLayerMixin):
    """One model layer's cache during a flat pass; it gives attention the keys and values of each part."""

    def __init__(
        self,
        rows: KVLayer | None,
        seen: torch.Tensor,
        parts: Sequence[tuple[Any, int, int, torch.Tensor | None]],
    ) -> None:
        """`seen` [rows, 1, 1, columns] tells what rows attend to.

        A part is its prompt's own layer, its first token in the pass, the one behind its last, and what these
        attend to, None at the beginning of a prompt.
        """
        super().__init__()  # type: ignore[no-untyped-call]
        self.is_initialized = True
        self._rows, self._seen, self._parts = rows, seen, parts

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
        new = key_states, value_states
        if self._rows is not None:
            count = len(self._seen)
            keys, values = (one[0, :, :count].transpose(0, 1)[:, :, None] for one in new)
            self._batch = self._rows.update(keys, values)
        self._pasts = [
            layer.update(*(one[:, :, start:end] for one in new)) for layer, start, end, _ in self._parts
        ]
        expect(self.attend)
        return new

    def attend(self, module: torch.nn.Module, query: torch.Tensor, **options: Any) -> torch.Tensor:
        """Raises BatchingError if more than the tokens' order decides what they see."""
        if options.get("position_bias") is not None or options.get("sliding_window") is not None:
            raise BatchingError("its attention has a bias or a window")
        outputs = list[torch.Tensor]()
        if self._rows is not None:
            rows = query[0, :, : len(self._seen)].transpose(0, 1)[:, :, None]
            # A model may be spread over devices.
            seen = self._seen.to(query.device)
            outputs.append(in_groups(module, rows, *self._batch, seen, **options).transpose(0, 1))
        for (keys, values), (_, start, end, causal) in zip(self._pasts, self._parts, strict=True):
            mask, part = None if causal is None else causal.to(query.device), query[:, :, start:end]
            outputs.append(sdpa(module, part, keys, values, mask, **options)[0])
        out = torch.cat(outputs, dim=1)
        return pad(out, (0, 0, 0, 0, 0, query.shape[2] - out.shape[1]))


def _causal(prefill: Prefill, end: int) -> torch.Tensor | None:
    columns = torch.arange(end, device=prefill.ids.device)
    return (columns <= columns[prefill.done :, None])[None, None] if prefill.done else None


@dataclass(frozen=True)
class FlatRows:
    """The rows of a flat pass: their layers, `ids` [rows], `positions` [..., rows, 1], `extras` [rows, 1]
    by name, and which columns each `seen` [rows, columns].
    """

    layers: Sequence[KVLayer]
    ids: torch.Tensor
    positions: torch.Tensor
    extras: Mapping[str, Any]
    seen: torch.Tensor


def flat_pass(rows: FlatRows | None, chunks: Sequence[tuple[Prefill, int]]) -> torch.Tensor:
    """Compute each prompt up to the end given with it, and a step of the rows; returns their logits.

    At least one prompt. Raises BatchingError; whatever it raises, rows and prompts have to start again.
    """
    first, count = chunks[0][0], len(rows.ids) if rows else 0
    starts = list(accumulate((end - prefill.done for prefill, end in chunks), initial=count))
    spans = list(pairwise(starts))
    wanted = [*range(count), *(end - 1 for _, end in spans)]
    logits: torch.Tensor = first.network(**_flat_inputs(rows, chunks, spans, wanted), return_dict=True).logits
    for number, (prefill, end) in enumerate(chunks, count):
        prefill.take(end, logits[:, number : number + 1], prefill.cache)
    return logits[0, :count]


def _flat_inputs(
    rows: FlatRows | None,
    chunks: Sequence[tuple[Prefill, int]],
    spans: Sequence[tuple[int, int]],
    wanted: Sequence[int],
) -> dict[str, Any]:
    """The model's inputs, made as the chunked branch of `GenerationMixin._prefill` does."""
    first, device = chunks[0][0], chunks[0][0].ids.device
    own = {name: value for name, value in (rows.extras if rows else {}).items() if torch.is_tensor(value)}
    if rows and own.keys() != set(first.types):
        raise BatchingError("its rows have inputs of their own while decoding")
    behind = -spans[-1][1] % TILE if device.type == "cpu" else 0
    arguments = dict(first.rest) | {KEPT: torch.tensor(wanted, device=device)}
    for name in first.types:
        kinds = [prefill.given[name][:, prefill.done : end] for prefill, end in chunks]
        before = [own[name].transpose(0, 1)] if rows else []
        arguments[name] = pad(torch.cat([*before, *kinds], dim=1), (0, behind))
    ids = [rows.ids[None]] if rows else []
    ids += [prefill.ids[:, prefill.done : end] for prefill, end in chunks]
    due = [rows.positions.transpose(-1, -2)] if rows else []
    due += [prefill.given["position_ids"][..., prefill.done : end] for prefill, end in chunks]
    inputs: dict[str, Any] = first.network.prepare_inputs_for_generation(
        # Any text token will do as padding.
        pad(torch.cat(ids, dim=1), (0, behind), value=first.filler),
        is_first_iteration=True,
        past_key_values=Cache(layers=_flat_layers(rows, chunks, spans)),
        position_ids=pad(torch.cat(alike(due), dim=-1), (0, behind)),
        attention_mask=None,
        **arguments,
    )
    encoded = [found for prefill, end in chunks if (found := prefill.encoded(end))]
    if encoded:
        kinds_seen = dict.fromkeys(kind for one in encoded for kind in one)
        inputs[ENCODED] = {
            kind: _merged([one[kind] for one in encoded if kind in one]) for kind in kinds_seen
        }
    return inputs


def _flat_layers(
    rows: FlatRows | None, chunks: Sequence[tuple[Prefill, int]], spans: Sequence[tuple[int, int]]
) -> list[Any]:
    caches = [prefill.cache.layers for prefill, _ in chunks]
    own: Sequence[KVLayer | None] = rows.layers if rows else [None] * len(caches[0])
    seen = rows.seen[:, None, None] if rows else torch.empty(0)
    masks = [_causal(prefill, end) for prefill, end in chunks]
    return [
        FlatLayer(mine, seen, [(x, *span, mask) for x, span, mask in zip(theirs, spans, masks, strict=True)])
        for mine, *theirs in zip(own, *caches, strict=True)
    ]


def _merged(outputs: Sequence[Any]) -> Any:
    """Outputs of an encoder for several prompts, as if for one."""
    if len(outputs) == 1:
        return outputs[0]
    merged = {POOLED: _joined([output[POOLED] for output in outputs])}
    if outputs[0].get(DEEP) is not None:
        merged[DEEP] = [_joined(layer) for layer in zip(*(output[DEEP] for output in outputs), strict=True)]
    return type(outputs[0])(**merged)


def _joined(features: Sequence[Any]) -> Any:
    """In the container that the model expects: a list of one, or a batch of one."""
    rows = torch.cat([part.reshape(-1, part.shape[-1]) for one in features for part in one])
    return rows[None] if isinstance(features[0], torch.Tensor) else [rows]

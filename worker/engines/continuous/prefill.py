"""Computes a prompt's KV cache, some tokens at a time, until the prompt can join the batch.

transformers' own `generate()` prepares the prompt (positions, cache, pictures, logits processors, as the
model family needs them) and calls `_capture` instead of decoding. The cache is then filled with what is known
of the prompt's first tokens. Everything that touches the insides of `generate()` is in this file and in
`shared_pass.py`, `mixed_pass.py` and `model_inputs.py`; written for transformers 5.23.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise
from typing import Any

import torch
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList
from transformers.cache_utils import DynamicCache, LinearAttentionLayer
from transformers.modeling_outputs import CausalLMOutputWithPast

from worker.engines.continuous.errors import BatchingError
from worker.engines.continuous.kv_slices import KnownPrefix, KVSlices, record
from worker.engines.continuous.model_inputs import (
    ENCODED,
    GIVEN,
    PIXELS,
    TYPES,
    EncodedPictures,
    forwarded,
    is_row,
    one_row,
)


class CutPoints(Enum):
    """Where a model's prompts may be cut without changing what it computes."""

    ANYWHERE = "anywhere"
    AROUND_PICTURES = "around pictures"
    NOWHERE = "nowhere"


@dataclass(frozen=True)
class PassShare:
    """One prompt's part of a pass with others: its tokens from `start` to `end`.

    `ids` [1, tokens] and `positions` [..., 1, tokens] are those of these tokens, `types` [1, end] go back to
    the prompt's first one. `past` is the cache before `start`, `pictures` the encoded pictures of the tokens,
    `filler` a text token for padding. `rest` is the same for all prompts of a pass.
    """

    start: int
    end: int
    ids: torch.Tensor
    positions: torch.Tensor
    types: dict[str, torch.Tensor]
    past: KVSlices | None
    pictures: EncodedPictures | None
    filler: int
    rest: dict[str, Any]


@dataclass(frozen=True)
class Prefilled:
    """A prompt with all its tokens in its own cache, ready to join the batch.

    `positions` and `extras` are the inputs of the row's next token; positions may have axes before the row's
    (three-dimensional positions of pictures).
    """

    logits: torch.Tensor
    cache: Any
    length: int
    positions: torch.Tensor
    extras: dict[str, Any]


class Prefill:
    """One prompt: call `advance` until it returns the result. A call is one forward pass, or none if all of
    the prompt is known.
    """

    def __init__(
        self,
        network: Any,
        head: KnownPrefix,
        config: GenerationConfig,
        cut_points: CutPoints = CutPoints.ANYWHERE,
    ) -> None:
        """Encodes the prompt's pictures where `head` does not have them. Raises BatchingError."""
        self.network = network
        # Positions are made for the whole prompt and without a cache: with one, some families continue from
        # the positions of the request that the model has seen last.
        captured = network.generate(
            **head.inputs,
            **({} if head.pictures is None else {ENCODED: {"image": head.pictures.output()}}),
            generation_config=config,
            custom_generate=_capture,
        )
        self.ids: torch.Tensor = captured[0]
        self._config: GenerationConfig = captured[1]
        self._given: dict[str, Any] = captured[2]
        self._head = head
        self._done = head.start
        self._begin(cut_points)

    def processors_of(self, own: Iterable[LogitsProcessor]) -> LogitsProcessorList:
        """The processors that `generate()` would make for a row with this prompt and config.

        It is not given them itself: some families (Janus) replace it by one that passes none on.
        """
        processors: LogitsProcessorList = self.network._get_logits_processor(
            self._config,
            input_ids_seq_length=self.length,
            encoder_input_ids=self.ids,
            logits_processor=LogitsProcessorList(own),
            device=self.ids.device,
            model_kwargs=self._given,
        )
        return processors

    def advance(self, tokens: int | None = None) -> Prefilled | None:
        """Compute about `tokens` more, by default all; returns None while any are left.

        Raises BatchingError.
        """
        end = self.end(tokens)
        if self._done == end:
            outputs = self._known_output()
        elif self._done == 0 and end == self.length:
            outputs = self.network._prefill(self.ids, self._config, self._given, is_first_iteration=True)
        else:
            outputs = self._chunk(end)
        self._done = end
        return self._packed(outputs) if end == self.length else None

    def end(self, tokens: int | None) -> int:
        """Where the next chunk ends: at the first possible cut after at least `tokens` more."""
        if tokens is None:
            return self.length
        wanted = self._done + max(1, tokens)
        return next((end for end in range(wanted, self.length) if self._cuts[end]), self.length)

    def share(self, end: int) -> PassShare:
        """The prompt's next tokens, up to `end`, for a pass with others that it `joins`."""
        return PassShare(
            start=self._done,
            end=end,
            ids=self.ids[:, self._done : end],
            positions=self._given["position_ids"][..., self._done : end],
            types={name: self._given[name][..., :end] for name in self._types},
            past=KVSlices.of(self.cache) if self._done else None,
            pictures=self._next_pictures(end),
            filler=int(self.ids[0, -1]),
            rest=self._rest,
        )

    def take(self, end: int, logits: torch.Tensor, past: KVSlices) -> Prefilled | None:
        """Take over what a pass with others computed, as `advance` would; `logits` [1, 1, vocabulary]."""
        past.fill(self.cache)
        self._done = end
        if end < self.length:
            return None
        return self._packed(CausalLMOutputWithPast(logits=logits, past_key_values=self.cache))

    def rewind(self) -> bool:
        """Whether all that is computed is left after a pass that failed, and can be continued.

        Some layers may hold that pass's tokens, too, and drop them; recurrent states cannot.
        """
        if self._done and self._mixes:
            KVSlices.of(self.cache).row(0, 0, self._done).fill(self.cache)
            return True
        return False

    @property
    def length(self) -> int:
        return self.ids.shape[1]

    @property
    def done(self) -> int:
        """Tokens that are in the cache so far."""
        return self._done

    @property
    def cache(self) -> Any:
        return self._given["past_key_values"]

    def joins(self, other: "Prefill") -> bool:
        """Whether one pass can compute tokens of both.

        The shorter row is padded at its end. The padding would enter a recurrent state, or a prompt whose
        tokens all attend to each other.
        """
        mixes = all(one._mixes and one.done < one.length for one in (self, other))
        return mixes and self._rest == other._rest and self._types == other._types

    def _begin(self, cut_points: CutPoints) -> None:
        cache = self._given.get("past_key_values")
        record(cache)
        if self._head.past is not None:
            self._head.past.fill(cache)
        encoded = self._given.get(ENCODED) or {}
        image = getattr(self.network.config, "image_token_id", None)
        self._places = [id_ == image for id_ in self.ids[0].tolist()]
        self._pictures = self._head.pictures or (
            EncodedPictures.of(encoded["image"]) if "image" in encoded else None
        )
        if not self._cuttable(encoded):
            cut_points = CutPoints.NOWHERE
        self._rest = {k: v for k, v in self._given.items() if k not in {*GIVEN, *TYPES, ENCODED}}
        self._types = {name for name in TYPES if self._given.get(name) is not None}
        self._mixes = cut_points is not CutPoints.NOWHERE and self._pads(cache)
        inside = [here and before for here, before in pairwise([False, *self._places])]
        self._cuts = {
            CutPoints.ANYWHERE: [True] * self.length,
            CutPoints.AROUND_PICTURES: [not within for within in inside],
            CutPoints.NOWHERE: [False] * self.length,
        }[cut_points]

    def _cuttable(self, encoded: dict[str, Any]) -> bool:
        """Whether the prompt's pictures, if any, can be passed to the model in parts."""
        if self._given.get("position_ids") is None or any(name in self._given for name in PIXELS):
            return False
        rows = 0 if self._pictures is None else len(self._pictures.rows)
        return not encoded or (encoded.keys() == {"image"} and rows == sum(self._places) - self._head.skipped)

    def _pads(self, cache: Any) -> bool:
        return (
            type(cache) is DynamicCache
            and not any(isinstance(layer, LinearAttentionLayer) for layer in cache.layers)
            and not any(torch.is_tensor(value) for value in self._rest.values())
            and not self._places[-1]
        )

    def _known_output(self) -> Any:
        """The output that a forward pass over the whole prompt would return."""
        logits: Any = self._head.logits
        return CausalLMOutputWithPast(logits=logits[:, None], past_key_values=self._given["past_key_values"])

    def _chunk(self, end: int) -> Any:
        """Compute one chunk, as the chunked branch of `GenerationMixin._prefill` does for all in one call."""
        start, arguments = self._done, dict(self._given)
        arguments.pop(ENCODED, None)
        arguments["attention_mask"] = None
        arguments["position_ids"] = self._given["position_ids"][..., start:end]
        arguments.update(
            {name: arguments[name][..., :end] for name in TYPES if arguments.get(name) is not None}
        )
        inputs = self.network.prepare_inputs_for_generation(
            self.ids[:, start:end], is_first_iteration=True, **arguments
        )
        if (pictures := self._next_pictures(end)) is not None:
            inputs[ENCODED] = {"image": pictures.output()}
        outputs = self.network(**inputs, return_dict=True)
        self._given["past_key_values"] = outputs.past_key_values
        return outputs

    def _next_pictures(self, end: int) -> EncodedPictures | None:
        """The encoded pictures of the next tokens, up to `end`."""
        first, last = (sum(self._places[:at]) - self._head.skipped for at in (self._done, end))
        return None if self._pictures is None or last <= first else self._pictures.part(first, last)

    def _packed(self, outputs: Any) -> Prefilled:
        arguments = self.network._update_model_kwargs_for_generation(
            outputs, self._given, is_encoder_decoder=False
        )
        # Only the inputs' shapes matter here, so any token can stand for the next one, not known yet.
        longer = torch.cat([self.ids, self.ids[:, -1:]], dim=-1)
        inputs = self.network.prepare_inputs_for_generation(
            longer, next_sequence_length=1, is_first_iteration=False, **arguments
        )
        # EXAONE 4.5 counts the tokens of its cache instead.
        positions = inputs.get("position_ids")
        if positions is None:
            positions = self.ids.new_tensor([[self.length]])
        extras = {
            k: one_row(k, v)
            for k, v in inputs.items()
            if k not in GIVEN and v is not None and not self._is_read(k, v)
        }
        return Prefilled(
            logits=outputs.logits[:, -1].to(copy=True, dtype=torch.float32),
            cache=outputs.past_key_values,
            length=self.length,
            positions=positions,
            extras=extras,
        )

    def _is_read(self, name: str, value: Any) -> bool:
        """Whether it is the prompt's own input once more, as Phi-4's pixels, and not the next token's."""
        return name in self._head.inputs and self._given.get(name) is value and not is_row(value)


def _capture(
    network: Any,  # noqa: ARG001
    input_ids: torch.Tensor,
    logits_processor: Any = None,  # noqa: ARG001
    stopping_criteria: Any = None,  # noqa: ARG001
    generation_config: Any = None,
    **arguments: Any,
) -> tuple[torch.Tensor, Any, dict[str, Any]]:
    if input_ids.shape[0] != 1 or generation_config.num_beams > 1 or not generation_config.use_cache:
        raise BatchingError("its generation config asks for beams or for no cache")
    if arguments.get("encoder_outputs") is not None:
        raise BatchingError("it is an encoder-decoder")
    return input_ids, generation_config, forwarded(arguments)

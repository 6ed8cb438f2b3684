"""Encoded pictures, as a model's encoder passes them to its text half: a row of features per placeholder.

transformers passes them as `mm_encoder_outputs`, whose containers differ from family to family. Written for
transformers 5.23."""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from itertools import accumulate
from typing import Any

import torch
from transformers.generation.utils import MULTIMODAL_INPUTS_TO_DROP_OUTSIDE_PREFILL

from worker.engines.continuous.errors import BatchingError

POOLED, DEEP = "pooler_output", "deepstack_features"


@dataclass(frozen=True)
class EncodedPictures:
    """`rows` of one or more pictures in reading order; `deep` holds earlier layers' rows, of the same shape.

    The model expects them in an output of type `kind` under `name`, as a list if `listed`.
    """

    kind: type[Any]
    name: str
    listed: bool
    rows: torch.Tensor
    deep: tuple[torch.Tensor, ...] = ()

    @classmethod
    def of(cls, output: Any) -> "EncodedPictures | None":
        """What an encoder returned; None where its rows cannot be told apart."""
        # Llama 4 has no pooled output; it projects the last hidden state itself.
        name = POOLED if output.get(POOLED) is not None else "last_hidden_state"
        features, deep = output.get(name), output.get(DEEP) or ()
        alike = all(isinstance(layer, torch.Tensor) == isinstance(features, torch.Tensor) for layer in deep)
        if features is None or not alike or not all(isinstance(layer[0], torch.Tensor) for layer in deep):
            return None
        is_list = not isinstance(features, torch.Tensor)
        return cls(type(output), name, is_list, _flat(features), tuple(map(_flat, deep)))

    def part(self, start: int, end: int) -> "EncodedPictures":
        deep = tuple(layer[start:end] for layer in self.deep)
        return EncodedPictures(self.kind, self.name, self.listed, self.rows[start:end], deep)

    def copy(self) -> "EncodedPictures":
        """A copy with memory of its own."""
        deep = tuple(layer.clone() for layer in self.deep)
        return EncodedPictures(self.kind, self.name, self.listed, self.rows.clone(), deep)

    def output(self) -> Any:
        """The encoder output as the model takes it: a list of one picture, or a batch of one."""
        deep = {DEEP: [self._batched(layer) for layer in self.deep]} if self.deep else {}
        return self.kind(**_required(self.kind) | {self.name: self._batched(self.rows)} | deep)

    @property
    def bytes(self) -> int:
        return self.rows.nbytes + sum(layer.nbytes for layer in self.deep)

    def _batched(self, rows: torch.Tensor) -> Any:
        return [rows] if self.listed else rows[None]


def encoder_inputs(network: Any) -> frozenset[str]:
    """Names of the picture encoder's inputs; none if `generate()` leaves the encoding to the model."""
    encoder = getattr(network.base_model, "get_image_features", None)
    if encoder is None or not network._supports_mm_encoder_outputs():
        return frozenset()
    return frozenset(inspect.signature(encoder).parameters)


def encode(network: Any, inputs: Mapping[str, Any]) -> EncodedPictures | None:
    """Call the encoder as `generate()` does."""
    named = encoder_inputs(network)
    arguments = {name: value for name, value in inputs.items() if name in named}
    return EncodedPictures.of(network.base_model.get_image_features(**arguments, return_dict=True))


def encode_all(
    network: Any, calls: Sequence[tuple[Mapping[str, Any], int]]
) -> "list[EncodedPictures | None]":
    """Encode pictures, given with their placeholders, in one call per shape; None if not told apart.

    Inputs that agree in all axes but the first are concatenated along it; it counts pictures or patches.
    """
    named = encoder_inputs(network)
    arguments = [{name: value for name, value in inputs.items() if name in named} for inputs, _ in calls]
    alike: dict[Any, list[int]] = {}
    for at, inputs in enumerate(arguments):
        alike.setdefault(_shape(at, inputs), []).append(at)
    encoded: list[EncodedPictures | None] = [None] * len(calls)
    for places in alike.values():
        whole = encode(network, _below([arguments[at] for at in places]))
        ends = list(accumulate(calls[at][1] for at in places))
        if whole is None or len(whole.rows) != ends[-1]:
            continue
        for at, end in zip(places, ends, strict=True):
            encoded[at] = whole.part(end - calls[at][1], end).copy()
    return encoded


def merged(pictures: Sequence[EncodedPictures]) -> EncodedPictures:
    """The pictures in their order, as if one call had encoded them."""
    first = pictures[0]
    deep = zip(*(picture.deep for picture in pictures), strict=True)
    rows = torch.cat([picture.rows for picture in pictures])
    return EncodedPictures(
        first.kind, first.name, first.listed, rows, tuple(torch.cat(layer) for layer in deep)
    )


def _shape(at: int, inputs: Mapping[str, Any]) -> Any:
    """A key that is the same for pictures that one call can take; `at` if the picture needs its own call."""
    if not all(isinstance(value, torch.Tensor) and value.ndim for value in inputs.values()):
        return at
    return tuple(sorted((name, str(value.dtype), value.shape[1:]) for name, value in inputs.items()))


def _below(inputs: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    first, *others = inputs
    return {name: torch.cat([one[name] for one in inputs]) for name in first} if others else first


def _required(kind: type[Any]) -> dict[str, Any]:
    """Outputs that have no default, which the model does not read here (TimmWrapperModelOutput)."""
    named = fields(kind) if is_dataclass(kind) else ()
    return {field.name: None for field in named if field.default is MISSING}


def _flat(features: Any) -> torch.Tensor:
    return torch.cat([part.reshape(-1, part.shape[-1]) for part in features])


# What a model is given beside tokens, and what of it rows can share; written for transformers 5.23.

# Arguments that generate() passes to a decoding method but no forward pass takes.
MODE = ("tokenizer", "streamer", "synced_gpus", "assistant_model")
TYPES = ("token_type_ids", "mm_token_type_ids", "moe_mm_token_type_ids")
ENCODED = "mm_encoder_outputs"
KEPT = "logits_to_keep"
PIXELS = frozenset(MULTIMODAL_INPUTS_TO_DROP_OUTSIDE_PREFILL) - {ENCODED}
# Of these the ones of sounds, which generate() leaves to the model.
SOUNDS = frozenset(name for name in PIXELS if name.startswith(("input_features", "input_values")))
# Not needed to decode once the positions are given.
GIVEN = {
    *("input_ids", "inputs_embeds", "past_key_values", "position_ids", "attention_mask"),
    *("image_grid_thw", "video_grid_thw", "second_per_grid_ts"),
}


def forwarded(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Those of `generate()`'s inputs that forward passes need.

    Once all pictures are encoded, numbers per picture tell nothing more (Molmo2's `image_num_crops`); where a
    model reads them all the same, it is not certified. Pixels may have a name that only their model knows.
    """
    named = {name: value for name, value in inputs.items() if name not in MODE}
    if any(name in PIXELS or numbers(value) for name, value in named.items()):
        return named
    return {k: v for k, v in named.items() if not (torch.is_tensor(v) and v.ndim == 1)}


def numbers(value: Any) -> bool:
    """Whether it may be pixels, or the bytes of some."""
    return torch.is_tensor(value) and (value.is_floating_point() or value.dtype == torch.uint8)


def one_row(name: str, value: Any) -> Any:
    """The input of a row's next token. Raises BatchingError if it has none of its own."""
    if not is_row(value):
        raise BatchingError(f"its input {name} has no row of its own while decoding")
    return value


def is_row(value: Any) -> bool:
    """Whether it can be the input of one token: a tensor of one, or anything but a tensor."""
    return not torch.is_tensor(value) or (value.ndim >= 2 and value.shape[0] == value.shape[-1] == 1)


def alike(positions: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Positions with as many planes each.

    Prompts of MiniCPM-V 4.7 have [planes, 1, tokens] where they have pictures, [1, tokens] where not.
    """
    planes = max((one.shape[:-2] for one in positions), key=lambda shape: (len(shape), shape))
    return [one.expand(*planes, *one.shape[-2:]) for one in positions]

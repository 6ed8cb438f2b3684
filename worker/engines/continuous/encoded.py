"""Pictures as a model's encoder gives them to its text half: one row of features for each placeholder.

transformers hands them around as `mm_encoder_outputs`, whose containers differ from family to family. Written
for transformers 5.23.
"""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch

POOLED, DEEP = "pooler_output", "deepstack_features"


@dataclass(frozen=True)
class Encoded:
    """Rows of one or more pictures in reading order; `deep` are those of earlier layers, each like `rows`.

    `kind` and `name` are where the model looks for them, `listed` whether it expects a list there.
    """

    kind: type[Any]
    name: str
    listed: bool
    rows: torch.Tensor
    deep: tuple[torch.Tensor, ...] = ()

    @classmethod
    def of(cls, output: Any) -> "Encoded | None":
        """What an encoder returned; None where its rows cannot be told apart."""
        # Llama 4 projects what it finds in the other field itself.
        name = POOLED if output.get(POOLED) is not None else "last_hidden_state"
        features, deep = output.get(name), output.get(DEEP) or ()
        alike = all(isinstance(layer, torch.Tensor) == isinstance(features, torch.Tensor) for layer in deep)
        if features is None or not alike or not all(isinstance(layer[0], torch.Tensor) for layer in deep):
            return None
        listed = not isinstance(features, torch.Tensor)
        return cls(type(output), name, listed, _flat(features), tuple(map(_flat, deep)))

    def part(self, start: int, end: int) -> "Encoded":
        deep = tuple(layer[start:end] for layer in self.deep)
        return Encoded(self.kind, self.name, self.listed, self.rows[start:end], deep)

    def copy(self) -> "Encoded":
        """A copy with memory of its own."""
        deep = tuple(layer.clone() for layer in self.deep)
        return Encoded(self.kind, self.name, self.listed, self.rows.clone(), deep)

    def output(self) -> Any:
        """As the model takes it: a list of one picture, or a batch of one."""
        deep = {DEEP: [self._held(layer) for layer in self.deep]} if self.deep else {}
        return self.kind(**{self.name: self._held(self.rows)}, **deep)

    @property
    def bytes(self) -> int:
        return self.rows.nbytes + sum(layer.nbytes for layer in self.deep)

    def _held(self, rows: torch.Tensor) -> Any:
        return [rows] if self.listed else rows[None]


def encoder_inputs(network: Any) -> frozenset[str]:
    """Names of what the model's encoder of pictures takes; none where `generate()` leaves encoding to it."""
    encoder = getattr(network.base_model, "get_image_features", None)
    if encoder is None or not network._supports_mm_encoder_outputs():
        return frozenset()
    return frozenset(inspect.signature(encoder).parameters)


def encode(network: Any, inputs: Mapping[str, Any]) -> Encoded | None:
    """As `generate()` calls the encoder."""
    named = encoder_inputs(network)
    given = {name: value for name, value in inputs.items() if name in named}
    return Encoded.of(network.base_model.get_image_features(**given, return_dict=True))


def encode_all(network: Any, shown: Sequence[tuple[Mapping[str, Any], int]]) -> "list[Encoded | None]":
    """Pictures with their placeholders, those of one shape together; None for one that cannot be told apart.

    Whatever is the same behind the first axis is put one below the other: a picture each, or its patches.
    """
    named = encoder_inputs(network)
    given = [{name: value for name, value in inputs.items() if name in named} for inputs, _ in shown]
    alike: dict[Any, list[int]] = {}
    for at, inputs in enumerate(given):
        alike.setdefault(_shape(at, inputs), []).append(at)
    found: list[Encoded | None] = [None] * len(shown)
    for places in alike.values():
        whole = encode(network, _below([given[at] for at in places]))
        ends = list(accumulate(shown[at][1] for at in places))
        if whole is None or len(whole.rows) != ends[-1]:
            continue
        for at, end in zip(places, ends, strict=True):
            found[at] = whole.part(end - shown[at][1], end).copy()
    return found


def merged(pictures: Sequence[Encoded]) -> Encoded:
    """Pictures that follow each other, as if they had been encoded together."""
    first = pictures[0]
    deep = zip(*(picture.deep for picture in pictures), strict=True)
    rows = torch.cat([picture.rows for picture in pictures])
    return Encoded(first.kind, first.name, first.listed, rows, tuple(torch.cat(layer) for layer in deep))


def _shape(at: int, inputs: Mapping[str, Any]) -> Any:
    """The same for pictures that one call can take; `at` is what makes this one different."""
    if not all(isinstance(value, torch.Tensor) and value.ndim for value in inputs.values()):
        return at
    return tuple(sorted((name, str(value.dtype), value.shape[1:]) for name, value in inputs.items()))


def _below(inputs: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    first, *others = inputs
    return {name: torch.cat([one[name] for one in inputs]) for name in first} if others else first


def _flat(features: Any) -> torch.Tensor:
    return torch.cat([part.reshape(-1, part.shape[-1]) for part in features])

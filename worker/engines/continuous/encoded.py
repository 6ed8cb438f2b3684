"""Encoded pictures, as a model's encoder passes them to its text half: a row of features per placeholder.

transformers passes them as `mm_encoder_outputs`, whose containers differ from family to family. Written for
transformers 5.23.
"""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from itertools import accumulate
from typing import Any

import torch

POOLED, DEEP = "pooler_output", "deepstack_features"


@dataclass(frozen=True)
class Encoded:
    """`rows` of one or more pictures in reading order; `deep` holds earlier layers' rows, of the same shape.

    The model expects them in an output of type `kind` under `name`, as a list if `listed`.
    """

    kind: type[Any]
    name: str
    listed: bool
    rows: torch.Tensor
    deep: tuple[torch.Tensor, ...] = ()

    @classmethod
    def of(cls, output: Any) -> "Encoded | None":
        """What an encoder returned; None where its rows cannot be told apart."""
        # Llama 4 has no pooled output; it projects the last hidden state itself.
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
        """The encoder output as the model takes it: a list of one picture, or a batch of one."""
        deep = {DEEP: [self._held(layer) for layer in self.deep]} if self.deep else {}
        return self.kind(**_required(self.kind) | {self.name: self._held(self.rows)} | deep)

    @property
    def bytes(self) -> int:
        return self.rows.nbytes + sum(layer.nbytes for layer in self.deep)

    def _held(self, rows: torch.Tensor) -> Any:
        return [rows] if self.listed else rows[None]


def encoder_inputs(network: Any) -> frozenset[str]:
    """Names of the picture encoder's inputs; none if `generate()` leaves the encoding to the model."""
    encoder = getattr(network.base_model, "get_image_features", None)
    if encoder is None or not network._supports_mm_encoder_outputs():
        return frozenset()
    return frozenset(inspect.signature(encoder).parameters)


def encode(network: Any, inputs: Mapping[str, Any]) -> Encoded | None:
    """Call the encoder as `generate()` does."""
    named = encoder_inputs(network)
    given = {name: value for name, value in inputs.items() if name in named}
    return Encoded.of(network.base_model.get_image_features(**given, return_dict=True))


def encode_all(network: Any, shown: Sequence[tuple[Mapping[str, Any], int]]) -> "list[Encoded | None]":
    """Encode pictures, given with their placeholders, in one call per shape; None if not told apart.

    Inputs that agree in all axes but the first are concatenated along it; it counts pictures or patches.
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
    """The pictures in their order, as if one call had encoded them."""
    first = pictures[0]
    deep = zip(*(picture.deep for picture in pictures), strict=True)
    rows = torch.cat([picture.rows for picture in pictures])
    return Encoded(first.kind, first.name, first.listed, rows, tuple(torch.cat(layer) for layer in deep))


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

"""Linear layers with weights in oneDNN's own layout, which is faster on many processors, slower on some.

A layer is packed if a measurement shows that it gains. Packed and plain layers round differently, by about
one part in a million in float32, as different processors do; the fingerprint does not tell them apart."""

from time import perf_counter
from typing import Any

import torch

from shared.errors import ModelFailed
from shared.models import Model

# A linear layer that keeps its weight elsewhere, in a form that only its own product reads.


class WeightlessLinear(torch.nn.Linear):
    """Has the shape and bias of a plain layer, and a stub in the place of its weight that takes no memory.

    Models read the weight's type and device. A model that multiplied by the stub itself would get NaN, which
    every engine reports as an error.
    """

    def __init__(self, plain: torch.nn.Linear) -> None:
        torch.nn.Module.__init__(self)
        self.in_features, self.out_features, self.bias = plain.in_features, plain.out_features, plain.bias
        stub: Any = torch.full((), torch.nan, dtype=plain.weight.dtype).expand(plain.weight.shape)
        self.weight = stub


# Linear layers in 8 bits on a CPU, with a scale for each output of the weight and each row of the input.
#
# Each input row has a scale of its own, so that its product does not depend on the rows beside it, as it
# would with torch.ao's dynamic quantisation, which has one scale for all. Sums are 32-bit integers. This is
# section 2.1 of LLM.int8(), https://arxiv.org/abs/2208.07339, without that paper's part in 16 bits.

LARGEST = 127
# Inputs are shifted to the unsigned numbers 1 to 255: for signed ones oneDNN has no quick product on
# processors without AMX; it is 4000 times slower with 16 rows of 768 on an AMD EPYC.
ZERO = 128
# Used for a row of zeros, which has no scale.
SMALLEST_SCALE = 1e-12
# For a single row of some shapes oneDNN has no quick product: 5 ms instead of 0.05 for 256 outputs of 768.
LEAST_INT8_ROWS = 2


class Int8Linear(WeightlessLinear):
    """Holds its weight only in 8 bits, laid out for oneDNN."""

    def __init__(self, plain: torch.nn.Linear) -> None:
        super().__init__(plain)
        weight = plain.weight.detach().float()
        scales = (weight.abs().amax(1) / LARGEST).clamp_min(SMALLEST_SCALE)
        rounded = (weight / scales[:, None]).round().to(torch.int8)
        self._packed = torch.ops.onednn.qlinear_prepack(rounded, None)
        self._scales, self._zeros = scales, torch.zeros_like(scales, dtype=torch.int64)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        rows = input.reshape(-1, self.in_features).float()
        scales = (rows.abs().amax(1, keepdim=True) / LARGEST).clamp_min(SMALLEST_SCALE)
        rounded = (rows / scales).round_().add_(ZERO).to(torch.uint8)
        if len(rows) == 1:
            rounded = rounded.expand(LEAST_INT8_ROWS, -1).contiguous()
        weight = (self._packed, self._scales, self._zeros)
        out: torch.Tensor = torch.ops.onednn.qlinear_pointwise(
            rounded, 1.0, ZERO, *weight, None, 1.0, 0, torch.float32, "none", [], ""
        )
        out = out[: len(rows)].mul_(scales)
        if self.bias is not None:
            out.add_(self.bias)
        return out.to(input.dtype).view(*input.shape[:-1], self.out_features)


def check(model: Model, network: torch.nn.Module) -> None:
    """Raises ModelFailed if layers in 8 bits cannot be computed here, or only wrongly."""
    subject = f'model {model.id}: packed = "int8"'
    devices = {parameter.device.type for parameter in network.parameters()}
    if devices != {"cpu"}:
        raise ModelFailed(f"{subject} is for a CPU, and its weights are on {', '.join(sorted(devices))}.")
    # Without these instructions oneDNN adds pairs of products in 16 bits, which overflow.
    if not torch.cpu._is_vnni_supported():
        raise ModelFailed(f"{subject} needs a processor with VNNI (AVX-512 VNNI or AVX-VNNI); leave it out.")


# The layout for 16 rows serves one row as well; the layout for one row serves 16 badly.
LEAST_ROWS = 16
# A layer that gains less stays plain, so that workers on equal machines choose alike.
GAIN = 1.05
# Each shape is tried at least this often, and for at least this long, with each number of rows.
TRIES = 5
TRYING_S = 0.002


class PackedLinear(WeightlessLinear):
    """Holds its weight only packed; a weight that it shared with an embedding stays there."""

    def __init__(self, plain: torch.nn.Linear, rows: int) -> None:
        super().__init__(plain)
        weight = plain.weight.detach().contiguous()
        self._packed = torch.ops.mkldnn._reorder_linear_weight(weight, max(rows, LEAST_ROWS))

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        op = torch.ops.mkldnn._linear_pointwise
        out: torch.Tensor = op(input, self._packed, self.bias, "none", [], "")
        return out


class Choice:
    """Chooses the layers to pack: all that can be, or those whose shape gained when it was first measured.

    In int8 these are all but the last one, whose logits decide; other libraries leave it out, too.
    """

    def __init__(self, model: Model, last: torch.nn.Module | None) -> None:
        self._rows = model.rows_at_once
        self._int8, self._last = model.packed == "int8", last
        self._measured = model.packed is not True
        self._gains: dict[tuple[torch.Size, torch.dtype], bool] = {}

    def of(self, plain: torch.nn.Linear) -> PackedLinear | Int8Linear | None:
        if self._int8 and plain is not self._last:
            return Int8Linear(plain)
        shape = (plain.weight.shape, plain.weight.dtype)
        if not self._gains.get(shape, True):
            return None
        packed = PackedLinear(plain, self._rows)
        if self._measured and shape not in self._gains:
            self._gains[shape] = _faster(packed, plain, sorted({1, self._rows}))
        return packed if self._gains.get(shape, True) else None


def pack(network: torch.nn.Module, model: Model) -> str:
    """Pack linear layers on a CPU as the model's row says; returns what was done in words, or "".

    One after the other, so that no more than one weight is in memory twice. Raises ModelFailed if the row
    wants int8 and no layer can have it.
    """
    # Code of the folder's own may do anything with a layer's weight.
    if model.packed is False or (model.packed is None and model.trust_remote_code):
        return ""
    if model.packed == "int8":
        check(model, network)
    places, choice, layers = _places(network), Choice(model, _last(network)), list[torch.nn.Module]()
    total = len(places)
    while places:
        plain, owners = places.popitem()
        one = choice.of(plain)
        if one is not None:
            layers.append(one)
            for parent, name in owners:
                setattr(parent, name, one)
    rounded = sum(isinstance(one, Int8Linear) for one in layers)
    if model.packed == "int8" and not rounded:
        raise ModelFailed(
            f'model {model.id}: packed = "int8" finds no linear layer in float32 or bfloat16; '
            "set another dtype, or leave packed out."
        )
    words = f"{len(layers)} of {total} linear layers packed" if layers else ""
    return f"{words}, {rounded} of them in int8" if rounded else words


def _last(network: Any) -> torch.nn.Module | None:
    """The layer that computes the logits, if the network says which one it is."""
    find = getattr(network, "get_output_embeddings", None)
    head: torch.nn.Module | None = find and find()
    return head


def _places(network: torch.nn.Module) -> dict[torch.nn.Linear, list[tuple[torch.nn.Module, str]]]:
    """Each layer that can be packed, with the modules that hold it and their names for it."""
    places: dict[torch.nn.Linear, list[tuple[torch.nn.Module, str]]] = {}
    for parent in network.modules():
        for name, child in parent._modules.items():
            if type(child) is torch.nn.Linear and _possible(child):
                places.setdefault(child, []).append((parent, name))
    return places


def _possible(plain: torch.nn.Linear) -> bool:
    """Not if the layer has hooks or a replaced `forward`, which would be lost."""
    there: Any = torch.backends.mkldnn
    formats = {torch.float32} if there.is_available() else set()
    if formats and torch.ops.mkldnn._is_mkldnn_bf16_supported():
        formats.add(torch.bfloat16)
    touched = "forward" in vars(plain) or plain._forward_hooks or plain._forward_pre_hooks
    return plain.weight.device.type == "cpu" and plain.weight.dtype in formats and not touched


@torch.inference_mode()
def _faster(packed: PackedLinear, plain: torch.nn.Linear, rows: list[int]) -> bool:
    """Whether the packed layer gains in total over one product with each of these numbers of rows."""
    seconds = [0.0, 0.0]
    for count in rows:
        given = torch.ones(count, 1, plain.in_features, dtype=plain.weight.dtype)
        for at, fastest in enumerate(_fastest((plain, packed), given)):
            seconds[at] += fastest
    return seconds[0] > GAIN * seconds[1]


def _fastest(layers: tuple[torch.nn.Linear, ...], rows: torch.Tensor) -> list[float]:
    """Each layer's shortest time, measured by turns: other load on the machine can only add time."""
    fastest, tries, end = [float("inf") for _ in layers], 0, perf_counter() + TRYING_S * len(layers)
    while tries < TRIES or perf_counter() < end:
        for at, layer in enumerate(layers):
            started = perf_counter()
            layer(rows)
            fastest[at] = min(fastest[at], perf_counter() - started)
        tries += 1
    return fastest

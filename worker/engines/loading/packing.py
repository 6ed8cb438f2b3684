"""Linear layers with weights in oneDNN's own layout, which is faster on many processors, slower on some.

A layer is packed if a measurement shows that it gains. Packed and plain layers round differently, by about
one part in a million in float32, as different processors do; the fingerprint does not tell them apart."""

from time import perf_counter
from typing import Any

import torch

from shared.models import Model

# The layout for 16 rows serves one row as well; the layout for one row serves 16 badly.
LEAST_ROWS = 16
# A layer that gains less stays plain, so that workers on equal machines choose alike.
GAIN = 1.05
# Each shape is tried at least this often, and for at least this long, with each number of rows.
TRIES = 5
TRYING_S = 0.002


class PackedLinear(torch.nn.Linear):
    """Holds its weight only packed; a weight that it shared with an embedding stays there.

    A stub that takes no memory is in the weight's place, as models read its type and device. A model that
    multiplied by the stub itself would get NaN, which every engine reports as an error.
    """

    def __init__(self, plain: torch.nn.Linear, rows: int) -> None:
        torch.nn.Module.__init__(self)
        self.in_features, self.out_features, self.bias = plain.in_features, plain.out_features, plain.bias
        stub: Any = torch.full((), torch.nan, dtype=plain.weight.dtype).expand(plain.weight.shape)
        self.weight = stub
        weight = plain.weight.detach().contiguous()
        self._packed = torch.ops.mkldnn._reorder_linear_weight(weight, max(rows, LEAST_ROWS))

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        op = torch.ops.mkldnn._linear_pointwise
        out: torch.Tensor = op(input, self._packed, self.bias, "none", [], "")
        return out


def pack(network: torch.nn.Module, model: Model) -> str:
    """Pack linear layers on a CPU as the model's row says; returns what was done in words, or "".

    All that can be, or those whose shape gained when it was first measured. One after the other, so that no
    more than one weight is in memory twice.
    """
    # Code of the folder's own may do anything with a layer's weight.
    if model.packed is False or (model.packed is None and model.trust_remote_code):
        return ""
    places, rows, gains = _places(network), model.rows_at_once, dict[Any, bool]()
    total, count = len(places), 0
    while places:
        plain, paths = places.popitem()
        shape = (plain.weight.shape, plain.weight.dtype)
        if not gains.get(shape, True):
            continue
        packed = PackedLinear(plain, rows)
        if model.packed is None and shape not in gains:
            gains[shape] = _faster(packed, plain, sorted({1, rows}))
        if gains.get(shape, True):
            count += 1
            for path in paths:
                network.set_submodule(path, packed)
    return f"{count} of {total} linear layers packed" if count else ""


def _places(network: torch.nn.Module) -> dict[torch.nn.Linear, list[str]]:
    """Each layer that can be packed, with its paths."""
    places: dict[torch.nn.Linear, list[str]] = {}
    for path, layer in network.named_modules(remove_duplicate=False):
        if type(layer) is torch.nn.Linear and _possible(layer):
            places.setdefault(layer, []).append(path)
    return places


def _possible(plain: torch.nn.Linear) -> bool:
    """Not if the layer has a replaced `forward`, which would be lost."""
    there: Any = torch.backends.mkldnn
    formats = {torch.float32} if there.is_available() else set()
    if formats and torch.ops.mkldnn._is_mkldnn_bf16_supported():
        formats.add(torch.bfloat16)
    return (
        plain.weight.device.type == "cpu" and plain.weight.dtype in formats and "forward" not in vars(plain)
    )


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

"""Linear layers in 8 bits, on a CPU: a scale for each output of a weight, and one for each row of an input.

A row's scale is its own, so that the product of a row is the same whatever rows are beside it; with one scale
for all of them, as torch.ao's dynamic quantisation has it, it is not. Sums are whole numbers of 32 bits. It
is section 2.1 of LLM.int8(), https://arxiv.org/abs/2208.07339, without that paper's share in 16 bits.
"""

import torch

from shared.errors import ModelFailed
from shared.models import Model
from worker.engines.weightless import Weightless

LARGEST = 127
# Whole numbers of an input are handed over as 1 to 255: for ones with a sign oneDNN has no quick product on a
# processor without AMX, 4000 times slower with 16 rows of 768 on an AMD EPYC.
ZERO = 128
# A row of nothing but zeros has no scale.
SMALLEST_SCALE = 1e-12
# For one row of some shapes oneDNN has no quick product: 5 ms in the place of 0.05 with 256 outputs of 768.
LEAST_ROWS = 2


class Int8Linear(Weightless):
    """Holds its weight in 8 bits, laid out for oneDNN, and no other."""

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
            rounded = rounded.expand(LEAST_ROWS, -1).contiguous()
        weight = (self._packed, self._scales, self._zeros)
        out: torch.Tensor = torch.ops.onednn.qlinear_pointwise(
            rounded, 1.0, ZERO, *weight, None, 1.0, 0, torch.float32, "none", [], ""
        )
        out = out[: len(rows)].mul_(scales)
        if self.bias is not None:
            out.add_(self.bias)
        return out.to(input.dtype).view(*input.shape[:-1], self.out_features)


def check(model: Model, network: torch.nn.Module) -> None:
    """Raises ModelFailed where layers in 8 bits cannot be computed, or not right."""
    what = f'model {model.id}: packed = "int8"'
    devices = {parameter.device.type for parameter in network.parameters()}
    if devices != {"cpu"}:
        raise ModelFailed(f"{what} is for a CPU, and its weights are on {', '.join(sorted(devices))}.")
    # Without these instructions oneDNN adds pairs of products in 16 bits, which overflow.
    if not torch.cpu._is_vnni_supported():
        raise ModelFailed(f"{what} needs a processor with VNNI (AVX-512 VNNI or AVX-VNNI); leave it out.")

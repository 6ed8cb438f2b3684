"""Linear layers in 8 bits on a CPU, with a scale for each output of the weight and each row of the input.

Each input row has a scale of its own, so that its product does not depend on the rows beside it, as it would
with torch.ao's dynamic quantisation, which has one scale for all. Sums are 32-bit integers. This is section
2.1 of LLM.int8(), https://arxiv.org/abs/2208.07339, without that paper's part in 16 bits.
"""

import torch

from shared.errors import ModelFailed
from shared.models import Model
from worker.engines.weightless import Weightless

LARGEST = 127
# Inputs are shifted to the unsigned numbers 1 to 255: for signed ones oneDNN has no quick product on
# processors without AMX; it is 4000 times slower with 16 rows of 768 on an AMD EPYC.
ZERO = 128
# Used for a row of zeros, which has no scale.
SMALLEST_SCALE = 1e-12
# For a single row of some shapes oneDNN has no quick product: 5 ms instead of 0.05 for 256 outputs of 768.
LEAST_ROWS = 2


class Int8Linear(Weightless):
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
    """Raises ModelFailed if layers in 8 bits cannot be computed here, or only wrongly."""
    what = f'model {model.id}: packed = "int8"'
    devices = {parameter.device.type for parameter in network.parameters()}
    if devices != {"cpu"}:
        raise ModelFailed(f"{what} is for a CPU, and its weights are on {', '.join(sorted(devices))}.")
    # Without these instructions oneDNN adds pairs of products in 16 bits, which overflow.
    if not torch.cpu._is_vnni_supported():
        raise ModelFailed(f"{what} needs a processor with VNNI (AVX-512 VNNI or AVX-VNNI); leave it out.")

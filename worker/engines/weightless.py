"""A linear layer that keeps its weight elsewhere, in a form that only its own product reads."""

from typing import Any

import torch


class Weightless(torch.nn.Linear):
    """Has the shape and bias of a plain layer, and a stub in the place of its weight that takes no memory.

    Models read the weight's type and device. A model that multiplied by the stub itself would get NaN, which
    every engine reports as an error.
    """

    def __init__(self, plain: torch.nn.Linear) -> None:
        torch.nn.Module.__init__(self)
        self.in_features, self.out_features, self.bias = plain.in_features, plain.out_features, plain.bias
        stub: Any = torch.full((), torch.nan, dtype=plain.weight.dtype).expand(plain.weight.shape)
        self.weight = stub

"""A linear layer whose weight lies elsewhere, in a form that only its own product reads."""

from typing import Any

import torch


class Weightless(torch.nn.Linear):
    """Has the shape and the bias of a plain layer, and in place of its weight what takes no memory.

    Models ask their layers for the weight's type and device. One that multiplied by it itself would read NaN,
    which no engine takes for an answer.
    """

    def __init__(self, plain: torch.nn.Linear) -> None:
        torch.nn.Module.__init__(self)
        self.in_features, self.out_features, self.bias = plain.in_features, plain.out_features, plain.bias
        stub: Any = torch.full((), torch.nan, dtype=plain.weight.dtype).expand(plain.weight.shape)
        self.weight = stub

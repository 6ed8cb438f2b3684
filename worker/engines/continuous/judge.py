"""Decides whether two computations of the same logits differ by more than rounding."""

import torch

from worker.engines.continuous.refusal import Refusal

# Logits may differ by this part of the largest one, as they do when sums are rounded in another order. In
# float32 they did by 1e-6 in most of 17 families and by 2e-5 in the worst, Gemma 4; by 2e-4 and more where
# rows were let see a column that is not theirs, or keys and values were rounded to bfloat16.
TOLERANCE = {torch.float32: 1e-4, torch.float16: 2e-2, torch.bfloat16: 1e-1}
# Computing a prompt in chunks must differ less than that: a picture cut in two may show in few logits only.
CHUNKS = 0.25
# Tokens whose logits are farther behind the best one are hardly ever chosen: a bias, a format or a great
# temperature must ask for it. How far they are says nothing, and a model may hide them with whatever it
# likes: Chameleon does with its format's least number.
FARTHEST = 100.0


class Judge:
    """Compares logits, and remembers the largest difference."""

    def __init__(self, dtype: torch.dtype) -> None:
        self.worst = 0.0
        self._exact = dtype is torch.float32
        self._tolerance = TOLERANCE.get(dtype, TOLERANCE[torch.bfloat16])

    def sharpen(self) -> None:
        """From now on allow little more than the largest difference seen in the batch."""
        self._tolerance = max(CHUNKS * self._tolerance, 2 * self.worst)

    def compare(self, got: torch.Tensor, alone: torch.Tensor, otherwise: str) -> None:
        """Raises Refusal where they differ: `otherwise`, and by how much: it may be rounding."""
        # In a short format `least` would be rounded, and hidden tokens differ by that.
        got, alone = got.flatten().float(), alone.flatten().float()
        if not bool(torch.isfinite(alone.max())):
            raise Refusal("alone its logits are no finite numbers")
        least = float(alone.max()) - FARTHEST
        scale = max(float(alone[alone >= least].abs().max()), 1e-9)
        difference = float((got.clamp(min=least) - alone.clamp(min=least)).abs().max()) / scale
        if not difference <= self._tolerance:
            raise Refusal(f"{otherwise}: they differ by {difference:.1e}, {self._tolerance:.1e} is allowed")
        self.worst = max(self.worst, difference)
        if self._exact and bool(got.argmax() != alone.argmax()):
            raise Refusal(f"{otherwise}: another token is the most probable")

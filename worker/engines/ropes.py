"""Resets rotary embeddings that a model adapts to long requests, so that the next request is not affected."""

from typing import Any

FIRST = "original_inv_freq"


class Ropes:
    """The dynamic rotary embeddings of a network, restored to their state at load.

    For a request longer than the model was made for, transformers computes other frequencies and keeps them
    until a pass is short again (5.23, modeling_rope_utils.py): the next request would begin with them.
    """

    def __init__(self, network: Any) -> None:
        # Some have separate frequencies for each type of layer, with its name as the attributes' prefix.
        self._kept = [
            (module, name.removesuffix(FIRST))
            for module in network.modules()
            if hasattr(module, "original_max_seq_len")
            for name in dir(module)
            if name.endswith(FIRST)
        ]

    def begin(self) -> None:
        """Restore them before a request, so that it does not depend on earlier ones."""
        for module, prefix in self._kept:
            longest, limit = f"{prefix}max_seq_len_cached", module.original_max_seq_len
            if getattr(module, longest, limit) > limit:
                first, now = getattr(module, prefix + FIRST), getattr(module, f"{prefix}inv_freq")
                setattr(module, f"{prefix}inv_freq", first.to(now.device))
                setattr(module, longest, limit)

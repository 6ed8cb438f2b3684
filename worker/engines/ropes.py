"""Rotary positions that a model chooses by how long its longest request was."""

from typing import Any

FIRST = "original_inv_freq"


class Ropes:
    """The dynamic rotary embeddings of a network, put back to where they were at load.

    Once a request is longer than the model was made for, transformers computes other frequencies, and keeps
    them until a pass is short again (5.23, modeling_rope_utils.py): the next request would begin with them.
    """

    def __init__(self, network: Any) -> None:
        # Some have others for each type of layer, whose name stands before all that is kept of them.
        self._kept = [
            (module, name.removesuffix(FIRST))
            for module in network.modules()
            if hasattr(module, "original_max_seq_len")
            for name in dir(module)
            if name.endswith(FIRST)
        ]

    def begin(self) -> None:
        """What is computed from here on does not depend on earlier requests."""
        for module, prefix in self._kept:
            longest, limit = f"{prefix}max_seq_len_cached", module.original_max_seq_len
            if getattr(module, longest, limit) > limit:
                first, now = getattr(module, prefix + FIRST), getattr(module, f"{prefix}inv_freq")
                setattr(module, f"{prefix}inv_freq", first.to(now.device))
                setattr(module, longest, limit)

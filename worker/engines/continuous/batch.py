"""The rows that decode together: one forward pass gives each its next logits.

Knows nothing of requests; `worker.engines.continuous.verify.batching` runs it bare.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch

from worker.engines.continuous.attention import attention_groups, ours
from worker.engines.continuous.captured_step import CapturedSteps
from worker.engines.continuous.errors import BatchingError
from worker.engines.continuous.kv_cache import BatchCache
from worker.engines.continuous.kv_slices import KVSlices
from worker.engines.continuous.mixed_pass import MixedPass
from worker.engines.continuous.model_inputs import alike
from worker.engines.continuous.prefill import Prefill, Prefilled
from worker.engines.continuous.row_window import COLUMNS


class Batch:
    """A row joins behind the last one; when a row leaves, the last one takes its place.

    Everything here runs under `torch.inference_mode`: its tensors are written in place at every step.
    """

    _positions: torch.Tensor
    _extras: dict[str, Any]

    def __init__(
        self,
        network: Any,
        columns: int = COLUMNS,
        limit: int = 2**10,
        tokens: int = 2**40,
        waste: int | None = None,
        captured: CapturedSteps | None = None,
    ) -> None:
        """At most `limit` rows, and `tokens` of all rows, are given memory before they join.

        Rows attend in groups (see `grouped`), or all together if `waste` is None.
        """
        self.rows = 0
        self.waste = waste
        self._limit, self._tokens = limit, tokens
        self._network = network
        self._columns = columns
        self._captured = captured
        # Made anew for the first row of each batch, except while there are graphs over its memory.
        self._cache: BatchCache | None = None

    def join(self, prefilled: Prefilled) -> None:
        """Raises BatchingError. After any other exception the rows are lost if the batch is `torn`."""
        cache = self._cache or BatchCache(prefilled.cache, self._columns, ours(self._network))
        if self.rows and prefilled.extras.keys() != self._extras.keys():
            raise BatchingError("its prompts need different inputs while decoding")
        positions, extras = prefilled.positions, dict(prefilled.extras)
        if self.rows:
            positions = torch.cat(alike([self._positions, positions]), dim=-2)
            extras = {k: _joined(v, extras[k]) for k, v in self._extras.items()}
        cache.join(prefilled.cache, prefilled.length, self._limit, self._tokens)
        self._cache, self._positions, self._extras = cache, positions, extras
        self.rows += 1

    def leave(self, row: int) -> None:
        """If it raises, all rows are lost."""
        if self.rows == 1 and not (self._captured and self._captured.covers(self._full)):
            self.clear()
            return
        self._full.leave(row)
        self.rows -= 1
        order = list(range(self.rows))
        if row != self.rows:
            order[row] = self.rows
        self._positions = self._positions[..., order, :]
        self._extras = {k: v[order] if torch.is_tensor(v) else v for k, v in self._extras.items()}

    def past(self, row: int) -> KVSlices:
        """See `BatchCache.past`."""
        return self._full.past(row)

    def clear(self) -> None:
        """Drop all rows and give back their memory."""
        self._cache = None
        self.rows = 0

    def drop_idle(self) -> bool:
        """Give back the memory that graphs keep though no row is in it; False if there is none."""
        idle = self._cache is not None and not self.rows
        if idle:
            self.clear()
            self.trim()
        return idle

    def trim(self) -> None:
        """Give back the memory of rows that have left, and of captured steps."""
        if self._captured:
            self._captured.clear()
        if self._cache is not None:
            self._cache.trim()

    def step(self, tokens: list[int]) -> torch.Tensor:
        """Feed each row its token; returns logits in the model's number format, [rows, vocabulary].

        A step that raises has changed nothing, unless the batch is `recurrent` or `torn`.
        """
        return self.mixed_step(tokens, ())[0]

    def mixed_step(
        self, tokens: list[int], prompts: Sequence[tuple[Prefill, int]]
    ) -> tuple[torch.Tensor, list[Prefilled | None]]:
        """Take a step and, in the same pass, compute each prompt up to the end given with it.

        Raises BatchingError: then the prompts are left in an unknown state and have to start again.
        """
        window = self._full.window
        self._full.before_step(narrow=self._captured is not None)
        with attention_groups(window.groups(self.waste)):
            logits, prefilled = self._mixed(tokens, prompts) if prompts else (self._plain(tokens), [])
        # Last, so that a step that fails before has changed nothing.
        self._positions = self._positions + 1
        window.advance()
        return logits, prefilled

    def _plain(self, tokens: list[int]) -> torch.Tensor:
        cache, device = self._full, self._positions.device
        if self._captured:
            replayed = self._captured.logits(tokens, self._positions, self._extras, cache)
            if replayed is not None:
                return replayed
        outputs = self._network(
            input_ids=torch.tensor(tokens, device=device)[:, None],
            position_ids=self._positions,
            attention_mask=cache.window.mask(device),
            past_key_values=cache,
            return_dict=True,
            **self._extras,
        )
        logits: torch.Tensor = outputs.logits[:, -1]
        return logits

    def _mixed(
        self, tokens: list[int], prompts: Sequence[tuple[Prefill, int]]
    ) -> tuple[torch.Tensor, list[Prefilled | None]]:
        mixed = MixedPass(self._network, self._full, [prefill.share(end) for prefill, end in prompts])
        inputs = mixed.inputs(tokens, self._positions, self._extras)
        logits = self._network(**inputs, return_dict=True).logits
        prefilled = [
            prefill.take(end, logits[:, row : row + 1], past)
            for (prefill, end), (row, past) in zip(
                prompts, enumerate(mixed.pasts(), len(tokens)), strict=True
            )
        ]
        return logits[0, : len(tokens)], prefilled

    @property
    def recurrent(self) -> bool:
        """Whether a step that raises leaves the rows in an unknown state."""
        return self._cache is not None and self._cache.recurrent

    @property
    def torn(self) -> bool:
        """Whether the rows are lost to an exception in the midst of a change."""
        return self._cache is not None and self._cache.torn

    @property
    def column_bytes(self) -> Counter[torch.device]:
        """Memory of one token of one row on each device; known while there are rows."""
        return self._full.column_bytes

    @property
    def _full(self) -> BatchCache:
        if self._cache is None:
            raise RuntimeError("the batch is empty")
        return self._cache


def _joined(mine: Any, theirs: Any) -> Any:
    return torch.cat([mine, theirs]) if torch.is_tensor(mine) else mine

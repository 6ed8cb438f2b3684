"""The batch's KV cache of one model layer, for all rows."""

from typing import Any

import torch
from transformers.cache_utils import CacheLayerMixin, LinearAttentionLayer

from worker.engines.continuous import products
from worker.engines.continuous.refusal import Refusal
from worker.engines.continuous.window import Window

STATE_FACTS = (
    "is_conv_states_initialized",
    "is_recurrent_states_initialized",
    "has_previous_state",
    "conv_kernel_size",
)


class AlignedLayer(CacheLayerMixin):
    """Keys and values as [row, head, column, value]; the columns left of a row's first one are zeros.

    They must be zeroed: a masked column has weight 0, but 0 times a NaN that another row left there is NaN.
    """

    def __init__(self, window: Window, sliding: int | None, ours: bool) -> None:
        """`ours` tells whether the model computes its attention with `attention.attend`."""
        super().__init__()  # type: ignore[no-untyped-call]
        self.keys: torch.Tensor
        self.values: torch.Tensor
        self.is_sliding = sliding is not None
        self.is_initialized = True
        self._window = window
        self._sliding = sliding
        self._ours = ours

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Nothing to do: a row's own cache tells the shapes when it joins."""

    def get_max_length(self) -> int:
        return self._sliding or -1

    def get_seq_length(self) -> int:
        return self._window.end - self._window.first

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        first = self._first_seen()
        return self._window.end - first + query_length, first - self._window.first

    def update(
        self,
        key_states: torch.Tensor,
        value_states: torch.Tensor,
        *_: object,
        **__: object,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write the step's column; the window moves over it once every layer has done so."""
        rows, first, end = self._window.rows, self._first_seen(), self._window.end
        behind = end + key_states.shape[2]
        self.keys[:rows, :, end:behind] = key_states
        self.values[:rows, :, end:behind] = value_states
        return self.keys[:rows, :, first:behind], self.values[:rows, :, first:behind]

    def check(self, source: Any, length: int) -> None:
        """Raises Refusal if the layer does not hold one column per token, as in cross attention."""
        if source.keys.shape[2] != length:
            raise Refusal(f"a layer holds {source.keys.shape[2]} columns for a prompt of {length} tokens")

    def make_room(self, rows: int, columns: int, shift: int) -> None:
        """Resize to `rows` by `columns`, and move what is there by `shift` columns."""
        by_value = self._ours and products.gain(self.keys)
        self.keys = self._moved(self.keys, rows, columns, shift, by_value)
        self.values = self._moved(self.values, rows, columns, shift)

    def start(self, source: Any) -> None:
        """Take shapes, number format and device from the first row's own layer."""
        self.keys, self.values = source.keys[:0, :, :0], source.values[:0, :, :0]

    def put(self, row: int, source: Any) -> None:
        end, width = self._window.end, source.keys.shape[2]
        for mine, theirs in ((self.keys, source.keys), (self.values, source.values)):
            mine[row, :, : end - width] = 0
            mine[row, :, end - width : end] = theirs[0]

    def drop(self, row: int) -> None:
        last = self._window.rows - 1
        if row != last:
            for kept in (self.keys, self.values):
                kept[row, :, : self._window.end] = kept[last, :, : self._window.end]

    def columns(self, row: int) -> tuple[torch.Tensor, torch.Tensor]:
        """A view of one row's keys and values, [1, head, column, value]."""
        first, end = self._window.end - self._window.lengths[row], self._window.end
        return self.keys[row : row + 1, :, first:end], self.values[row : row + 1, :, first:end]

    @property
    def size(self) -> tuple[int, int]:
        return self.keys.shape[0], self.keys.shape[2]

    @property
    def column_bytes(self) -> int:
        """Memory of one column of one row."""
        return sum(t.shape[1] * t.shape[3] * t.element_size() for t in (self.keys, self.values))

    def _first_seen(self) -> int:
        if self._sliding is None:
            return self._window.first
        return max(self._window.first, self._window.end - self._sliding + 1)

    def _moved(
        self, old: torch.Tensor, rows: int, columns: int, shift: int, by_value: bool = False
    ) -> torch.Tensor:
        """`old` resized and shifted; in place if it has the size already, as new memory costs page faults."""
        window, shape = self._window, (rows, old.shape[1], columns, old.shape[3])
        kept = old[: window.rows, :, window.first : window.end]
        if old.shape == shape:
            new, kept = old, kept.clone()
        else:
            new = products.stored(shape, old) if by_value else old.new_empty(shape)
        new[: window.rows, :, : window.first + shift] = 0
        new[: window.rows, :, window.first + shift : window.end + shift] = kept
        return new


class StateLayer(LinearAttentionLayer):
    """Convolution and recurrent states, which have no columns: one state per row sums up all its tokens."""

    def start(self, source: Any) -> None:
        for fact in STATE_FACTS:
            setattr(self, fact, dict(getattr(source, fact)))
        self.dtype, self.device = source.dtype, source.device
        self._keep(source, lambda _, theirs: theirs[:0])

    def put(self, row: int, source: Any) -> None:
        self._keep(source, lambda mine, theirs: torch.cat([mine[:row], theirs]))

    def drop(self, row: int, rows: int) -> None:
        order = [rows - 1 if at == row else at for at in range(rows - 1)]
        self._keep(self, lambda mine, _: mine[order])

    def _keep(self, source: Any, combine: Any) -> None:
        mine: Any
        for mine, theirs in (
            (self.conv_states, source.conv_states),
            (self.recurrent_states, source.recurrent_states),
        ):
            for index, state in theirs.items():
                if state is not None:
                    mine[index] = combine(mine[index], state)

"""The batch's cache: what every row has seen, in the form the model's own code reads.

Any model that uses transformers' dynamic cache runs on it unchanged, as long as that cache holds only the
kinds of layers that `_shared` knows."""

import math
from collections import Counter
from typing import Any

import torch
from transformers.cache_utils import (
    Cache,
    CacheLayerMixin,
    DummyLayer,
    DynamicCache,
    DynamicLayer,
    DynamicSlidingWindowLayer,
    LinearAttentionLayer,
)

from worker.engines.continuous import attention
from worker.engines.continuous.errors import BatchingError
from worker.engines.continuous.kv_slices import STATE_FACTS, KVSlices, RecurrentState
from worker.engines.continuous.row_window import RowWindow

# The batch's KV cache of one model layer, for all rows.


class AlignedLayer(CacheLayerMixin):
    """Keys and values as [row, head, column, value]; all columns but a row's own are zeros.

    They must be zeroed: a masked column has weight 0, but 0 times a NaN that another row left there is NaN.
    A captured step reads also those behind the last row's.
    """

    def __init__(self, window: RowWindow, sliding: int | None, ours: bool) -> None:
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
        """Raises BatchingError if the layer does not hold one column per token, as in cross attention."""
        if source.keys.shape[2] != length:
            raise BatchingError(
                f"a layer holds {source.keys.shape[2]} columns for a prompt of {length} tokens"
            )

    def make_room(self, rows: int, columns: int, shift: int) -> None:
        """Resize to `rows` by `columns`, and move what is there by `shift` columns."""
        by_value = self._ours and attention.gain(self.keys)
        self.keys = self._moved(self.keys, rows, columns, shift, by_value)
        self.values = self._moved(self.values, rows, columns, shift)

    def start(self, source: Any) -> None:
        """Take shapes, number format and device from the first row's own layer."""
        self.keys, self.values = source.keys[:0, :, :0], source.values[:0, :, :0]

    def put(self, row: int, source: Any) -> None:
        end, width = self._window.end, source.keys.shape[2]
        for mine, theirs in ((self.keys, source.keys), (self.values, source.values)):
            own = mine[row]
            own.zero_()
            own[:, end - width : end] = theirs[0]

    def drop(self, row: int) -> None:
        last = self._window.rows - 1
        if row != last:
            for tensor in (self.keys, self.values):
                tensor[row, :, : self._window.end] = tensor[last, :, : self._window.end]

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
            new = attention.stored(shape, old) if by_value else old.new_empty(shape)
        new[: window.rows, :, : window.first + shift] = 0
        new[: window.rows, :, window.first + shift : window.end + shift] = kept
        new[: window.rows, :, window.end + shift :] = 0
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


class BatchCache(Cache):
    """Has the kinds of layers that the first row's cache has; rows are copied in from their prefills'."""

    def __init__(self, first: Any, columns: int, ours: bool) -> None:
        """`ours`: see AlignedLayer.

        Raises BatchingError for a kind of cache or layer that rows cannot share.
        """
        if type(first) is not DynamicCache:
            raise BatchingError(f"its cache is a {type(first).__name__}")
        self.window = RowWindow(columns)
        self.torn = False
        """Whether an exception left some layers changed and others not."""
        super().__init__(layers=[_shared(layer, self.window, ours) for layer in first.layers])
        for mine, theirs in self._pairs(first):
            mine.start(theirs)

    def join(self, row: Any, length: int, limit: int, tokens: int) -> None:
        """Copy a prefilled prompt in; a full cache doubles its rows, up to `limit`. Raises BatchingError.

        Rows to come are given memory only as far as `tokens` in all allow it.
        """
        window, rows = self.window, self.window.rows + 1
        for mine, theirs in self._pairs(row):
            if isinstance(mine, AlignedLayer):
                mine.check(theirs, length)
        self.torn = True
        shift = self._shift_for(rows, length)
        self._make_room(rows, min(limit, tokens // (window.end + shift + 1)), shift)
        for mine, theirs in self._pairs(row):
            mine.put(rows - 1, theirs)
        window.enter(length)
        self.torn = False

    def leave(self, row: int) -> None:
        for layer in self.layers:
            if isinstance(layer, AlignedLayer):
                layer.drop(row)
            elif isinstance(layer, StateLayer):
                layer.drop(row, self.window.rows)
        self.window.leave(row)

    def past(self, row: int) -> KVSlices:
        """All that a row has seen: a view of its columns, and a copy of its states."""
        return KVSlices(
            tuple(layer.columns(row) for layer in self.aligned),
            tuple(RecurrentState.of(layer, row) for layer in self.layers if isinstance(layer, StateLayer)),
        )

    def before_step(self, *, narrow: bool = False) -> None:
        """Make sure that there is memory for the step's column, and not for far more where it is `narrow`."""
        window, rows = self.window, self.window.rows
        most = 2 * window.room(window.end - window.first + 1)
        too_wide = narrow and window.first and self._holds(rows, most + 1)
        if too_wide or not self._holds(rows, window.end + 1):
            self.torn = True
            self._make_room(rows, rows, -window.first)
            self.torn = False

    def trim(self) -> None:
        """Give back the memory of rows that have left; the longest remaining row moves to column 0."""
        self.torn = True
        shift = -self.window.first
        for layer in self.aligned:
            layer.make_room(self.window.rows, self.window.room(self.window.end + shift + 1), shift)
        self.window.move(shift)
        self.torn = False

    @property
    def recurrent(self) -> bool:
        """Whether some layer keeps a recurrent state, which a step that fails midway leaves half updated."""
        return any(isinstance(layer, StateLayer) for layer in self.layers)

    @property
    def column_bytes(self) -> Counter[torch.device]:
        """Memory of one token of one row on each device."""
        by_device = Counter[torch.device]()
        for layer in self.aligned:
            by_device[layer.keys.device] += layer.column_bytes
        return by_device

    def _shift_for(self, rows: int, length: int) -> int:
        """Columns that the present rows move right; back to column 0 if columns or rows run out."""
        shift = self.window.shift_for(length)
        if self._holds(rows, self.window.end + shift + 1):
            return shift
        longest = self.window.end - self.window.first
        return max(longest, length) - self.window.end

    def _holds(self, rows: int, columns: int) -> bool:
        sizes = [layer.size for layer in self.aligned]
        return all(rows <= have_rows and columns <= have for have_rows, have in sizes)

    def _make_room(self, rows: int, limit: int, shift: int) -> None:
        """Move the present rows by `shift` columns, with room for `rows` and one column behind them all.

        After a move back to the start, and for a first row, there are columns for many steps. Memory that is
        too small then, or far too large, is allocated anew, for up to twice as many rows but at most `limit`.
        """
        needed, room = self.window.end + shift + 1, self.window.room
        continued = shift >= 0 and self.window.rows > 0
        least, most = (needed, math.inf) if continued else (room(needed), room(room(needed)))
        for layer in self.aligned:
            have_rows, have = layer.size
            if rows > have_rows or not least <= have <= most:
                layer.make_room(max(rows, min(limit, 1 << (rows - 1).bit_length())), room(needed), shift)
            elif shift:
                layer.make_room(have_rows, have, shift)
        self.window.move(shift)

    @property
    def aligned(self) -> list[AlignedLayer]:
        return [layer for layer in self.layers if isinstance(layer, AlignedLayer)]

    @property
    def addresses(self) -> tuple[int, ...]:
        return tuple(part.data_ptr() for layer in self.aligned for part in (layer.keys, layer.values))

    def _pairs(self, row: Any) -> list[tuple[Any, Any]]:
        return [
            (mine, theirs)
            for mine, theirs in zip(self.layers, row.layers, strict=True)
            if not isinstance(mine, DummyLayer)
        ]


def _shared(layer: Any, window: RowWindow, ours: bool) -> Any:
    kind = type(layer)
    if kind is DynamicLayer:
        return AlignedLayer(window, None, ours)
    if kind is DynamicSlidingWindowLayer:
        return AlignedLayer(window, layer.sliding_window, ours)
    if kind is LinearAttentionLayer:
        return StateLayer(layer.number_of_states)
    if kind is DummyLayer:
        return DummyLayer()  # type: ignore[no-untyped-call]
    raise BatchingError(f"its cache has layers of the kind {kind.__name__}")

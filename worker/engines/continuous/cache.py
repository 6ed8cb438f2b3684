"""The batch's cache: what every row has seen, in the form the model's own code reads.

Any model that uses transformers' dynamic cache runs on it unchanged, as long as that cache holds only the
kinds of layers that `_shared` knows.
"""

import math
from collections import Counter
from typing import Any

import torch
from transformers.cache_utils import (
    Cache,
    DummyLayer,
    DynamicCache,
    DynamicLayer,
    DynamicSlidingWindowLayer,
    LinearAttentionLayer,
)

from worker.engines.continuous.layers import AlignedLayer, StateLayer
from worker.engines.continuous.past import Past, State
from worker.engines.continuous.refusal import Refusal
from worker.engines.continuous.window import Window


class BatchCache(Cache):
    """Has the kinds of layers that the first row's cache has; rows are copied in from their prefills'."""

    def __init__(self, first: Any, columns: int, ours: bool) -> None:
        """`ours`: see AlignedLayer. Raises Refusal for a kind of cache or layer that rows cannot share."""
        if type(first) is not DynamicCache:
            raise Refusal(f"its cache is a {type(first).__name__}")
        self.window = Window(columns)
        self.torn = False
        """Whether an exception left some layers changed and others not."""
        super().__init__(layers=[_shared(layer, self.window, ours) for layer in first.layers])
        for mine, theirs in self._pairs(first):
            mine.start(theirs)

    def join(self, row: Any, length: int, limit: int, tokens: int) -> None:
        """Copy a prefilled prompt in; a full cache doubles its rows, up to `limit`. Raises Refusal.

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

    def past(self, row: int) -> Past:
        """All that a row has seen: a view of its columns, and a copy of its states."""
        return Past(
            tuple(layer.columns(row) for layer in self._aligned()),
            tuple(State.of(layer, row) for layer in self.layers if isinstance(layer, StateLayer)),
        )

    def before_step(self) -> None:
        """Make sure that there is memory for the step's column."""
        rows = self.window.rows
        if not self._holds(rows, self.window.end + 1):
            self.torn = True
            self._make_room(rows, rows, -self.window.first)
            self.torn = False

    def trim(self) -> None:
        """Give back the memory of rows that have left; the longest remaining row moves to column 0."""
        self.torn = True
        shift = -self.window.first
        for layer in self._aligned():
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
        found = Counter[torch.device]()
        for layer in self._aligned():
            found[layer.keys.device] += layer.column_bytes
        return found

    def _shift_for(self, rows: int, length: int) -> int:
        """Columns that the present rows move right; back to column 0 if columns or rows run out."""
        shift = self.window.shift_for(length)
        if self._holds(rows, self.window.end + shift + 1):
            return shift
        longest = self.window.end - self.window.first
        return max(longest, length) - self.window.end

    def _holds(self, rows: int, columns: int) -> bool:
        sizes = [layer.size for layer in self._aligned()]
        return all(rows <= have_rows and columns <= have for have_rows, have in sizes)

    def _make_room(self, rows: int, limit: int, shift: int) -> None:
        """Move the present rows by `shift` columns, with room for `rows` and one column behind them all.

        After a move back to the start there are columns for many steps. Memory that is too small then, or far
        too large, is allocated anew, for up to twice as many rows but at most `limit`.
        """
        needed, room = self.window.end + shift + 1, self.window.room
        least, most = (needed, math.inf) if shift >= 0 else (room(needed), room(room(needed)))
        for layer in self._aligned():
            have_rows, have = layer.size
            if rows > have_rows or not least <= have <= most:
                layer.make_room(max(rows, min(limit, 1 << (rows - 1).bit_length())), room(needed), shift)
            elif shift:
                layer.make_room(have_rows, have, shift)
        self.window.move(shift)

    def _aligned(self) -> list[AlignedLayer]:
        return [layer for layer in self.layers if isinstance(layer, AlignedLayer)]

    def _pairs(self, row: Any) -> list[tuple[Any, Any]]:
        return [
            (mine, theirs)
            for mine, theirs in zip(self.layers, row.layers, strict=True)
            if not isinstance(mine, DummyLayer)
        ]


def _shared(layer: Any, window: Window, ours: bool) -> Any:
    kind = type(layer)
    if kind is DynamicLayer:
        return AlignedLayer(window, None, ours)
    if kind is DynamicSlidingWindowLayer:
        return AlignedLayer(window, layer.sliding_window, ours)
    if kind is LinearAttentionLayer:
        return StateLayer(layer.number_of_states)
    if kind is DummyLayer:
        return DummyLayer()  # type: ignore[no-untyped-call]
    raise Refusal(f"its cache has layers of the kind {kind.__name__}")

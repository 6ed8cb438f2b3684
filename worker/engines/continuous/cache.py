"""The batch's cache: what every row has seen, in the form the model's own code reads.

Any model that keeps its past in transformers' dynamic cache runs on it unchanged; which kinds of layers that
may hold is the only thing asked of a family.
"""

from typing import Any

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
from worker.engines.continuous.window import COLUMNS, Window


class BatchCache(Cache):
    """Made for the kinds of layers its first row has; rows join from a prefill's own cache."""

    def __init__(self, first: Any, columns: int = COLUMNS) -> None:
        """Raises Refusal for a kind of cache or layer that rows cannot share."""
        if type(first) is not DynamicCache:
            raise Refusal(f"its cache is a {type(first).__name__}")
        self.window = Window(columns)
        self.torn = False
        """Whether an exception came between layers: some are changed, the others are not."""
        super().__init__(layers=[_shared(layer, self.window) for layer in first.layers])
        for mine, theirs in self._pairs(first):
            mine.start(theirs)

    def join(self, row: Any, length: int, limit: int) -> None:
        """Copy a prefilled prompt in; room is made for twice as many rows, up to `limit`. Raises Refusal."""
        window, rows = self.window, self.window.rows + 1
        for mine, theirs in self._pairs(row):
            if isinstance(mine, AlignedLayer):
                mine.check(theirs, length)
        self.torn = True
        shift = window.shift_for(length)
        self._make_room(max(rows, min(limit, 1 << (rows - 1).bit_length())), shift)
        window.move(shift)
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
        """Make sure that the next column exists."""
        if any(self.window.end >= layer.size[1] for layer in self._aligned()):
            self.trim()

    def trim(self) -> None:
        """Give back the room of rows that have left; those present start at column 0 again."""
        self.torn = True
        shift = -self.window.first
        for layer in self._aligned():
            layer.make_room(self.window.rows, self.window.room(self.window.end + shift + 1), shift)
        self.window.move(shift)
        self.torn = False

    @property
    def recurrent(self) -> bool:
        """Whether some layer keeps one state for all steps, which a step that breaks off leaves half new."""
        return any(isinstance(layer, StateLayer) for layer in self.layers)

    @property
    def column_bytes(self) -> int:
        """Memory of one token of one row."""
        return sum(layer.column_bytes for layer in self._aligned())

    def _make_room(self, rows: int, shift: int) -> None:
        needed = self.window.end + shift + 1
        for layer in self._aligned():
            have_rows, have_columns = layer.size
            if shift or have_rows < rows or have_columns < needed:
                columns = have_columns if needed <= have_columns else self.window.room(needed)
                layer.make_room(max(rows, have_rows), columns, shift)

    def _aligned(self) -> list[AlignedLayer]:
        return [layer for layer in self.layers if isinstance(layer, AlignedLayer)]

    def _pairs(self, row: Any) -> list[tuple[Any, Any]]:
        return [
            (mine, theirs)
            for mine, theirs in zip(self.layers, row.layers, strict=True)
            if not isinstance(mine, DummyLayer)
        ]


def _shared(layer: Any, window: Window) -> Any:
    kind = type(layer)
    if kind is DynamicLayer:
        return AlignedLayer(window, None)
    if kind is DynamicSlidingWindowLayer:
        return AlignedLayer(window, layer.sliding_window)
    if kind is LinearAttentionLayer:
        return StateLayer(layer.number_of_states)
    if kind is DummyLayer:
        return DummyLayer()  # type: ignore[no-untyped-call]
    raise Refusal(f"its cache has layers of the kind {kind.__name__}")

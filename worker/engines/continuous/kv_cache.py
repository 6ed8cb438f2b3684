"""The batch's cache: all rows end at the same column, a step writes one column, a mask hides the rest.

    column   0   1   2   3   4   5   6   7
    row 0            p   p   p   p   a   .      p: prompt, a: answer, .: the next step
    row 1                    p   a   a   .
    row 2        p   p   p   p   p   p   .
                first                  end

A step computes over columns `low` to `high` of the first `rows` rows. On a processor these are the ones in
use; where steps are captured (`fixed`) they are all that there is memory for, so that their shape stays.

Any model that uses transformers' dynamic cache runs on it unchanged, as long as that holds only the kinds of
layers that `BatchCache` knows.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
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

from worker.engines.loading.torch_errors import UNFIT, device_broken, out_of_memory

# Columns are allocated and computed in multiples of this, so that shapes stay the same for many steps.
GRAIN = 64
STATES = ("conv_states", "recurrent_states")
# A recurrent layer's own facts about its states.
FACTS = (
    "is_conv_states_initialized",
    "is_recurrent_states_initialized",
    "has_previous_state",
    "conv_kernel_size",
)

KeysValues = tuple[torch.Tensor, torch.Tensor]
"""One layer's keys and values, each [1, heads, tokens, width]."""


class BatchingError(Exception):
    """The model does something that rows sharing a batch cannot bear; the message says what."""


@contextmanager
def as_batching_error(subject: str = "") -> Iterator[None]:
    """Unless memory or device failed, the model's failure is a BatchingError that begins with `subject`."""
    try:
        yield
    except UNFIT as error:
        if out_of_memory(error) or device_broken(error):
            raise
        raise BatchingError(f"{subject}{type(error).__name__}: {error}"[:300]) from error


@dataclass(frozen=True)
class RecurrentState:
    """One row's convolution and recurrent states in one layer, and the layer's facts about them."""

    tensors: dict[str, dict[int, torch.Tensor]]
    facts: dict[str, Any]

    @classmethod
    def copied(cls, layer: Any, row: int = 0) -> "RecurrentState":
        tensors = {
            name: {at: x[row : row + 1].clone() for at, x in getattr(layer, name).items() if x is not None}
            for name in STATES
        }
        facts = {fact: dict(getattr(layer, fact)) for fact in FACTS}
        return cls(tensors, facts | {"dtype": layer.dtype, "device": layer.device})

    def fill(self, layer: Any) -> None:
        """Into a layer, which overwrites its states at every step: so it gets a copy."""
        for name, states in self.tensors.items():
            getattr(layer, name).update({at: state.clone() for at, state in states.items()})
        for fact, value in self.facts.items():
            setattr(layer, fact, dict(value) if isinstance(value, dict) else value)

    @property
    def bytes(self) -> int:
        return sum(state.nbytes for states in self.tensors.values() for state in states.values())


@dataclass(frozen=True)
class Past:
    """What one row's first tokens left: the `columns` of layers that have them, `states` of the others."""

    columns: tuple[KeysValues, ...]
    states: tuple[RecurrentState, ...] = ()

    @classmethod
    def of(cls, cache: Any) -> "Past":
        """Views of the only row of a dynamic cache; states are copied."""
        layers = [layer for layer in cache.layers if not isinstance(layer, DummyLayer)]
        recurrent = [layer for layer in layers if isinstance(layer, LinearAttentionLayer)]
        columns = [(layer.keys, layer.values) for layer in layers if layer not in recurrent]
        return cls(tuple(columns), tuple(map(RecurrentState.copied, recurrent)))

    def fill(self, cache: Any) -> None:
        """Into a new dynamic cache. Without layers in the model's config it makes each when tokens come."""
        columns, states = iter(self.columns), iter(self.states)
        for number in range(len(self.columns)) if not cache.layers else ():
            cache.update(*next(columns), number)
        for layer in cache.layers:
            if isinstance(layer, LinearAttentionLayer):
                next(states).fill(layer)
            elif not isinstance(layer, DummyLayer) and self.columns and not layer.is_initialized:
                layer.update(*next(columns))


class RowTable:
    """Which columns are whose: each row ends before `end`, and the longest begins at `first`."""

    def __init__(self, *, fixed: bool) -> None:
        self.lengths: list[int] = []
        self.fixed = fixed
        self.end = self.low = self.high = self.rows = 0
        self.column: torch.Tensor
        """[1]: the step's column, counted from `low`."""

    @property
    def first(self) -> int:
        return self.end - max(self.lengths, default=0)


class KVLayer(CacheLayerMixin):
    """Keys and values of all rows, [row, head, column, width].

    Zero where nothing is: a masked column has weight 0, but 0 times a NaN is NaN.
    """

    def __init__(self, table: RowTable, source: Any) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.is_initialized = True
        self.is_sliding = isinstance(source, DynamicSlidingWindowLayer)
        self.window: int | None = source.sliding_window if self.is_sliding else None
        self.keys: torch.Tensor = source.keys[:0, :, :0]
        self.values: torch.Tensor = source.values[:0, :, :0]
        self._table = table

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Nothing to do: a row's own cache tells the shapes when it joins."""

    def get_max_length(self) -> int:
        return -1

    def get_seq_length(self) -> Any:
        return self._table.column[0] if self._table.fixed else self._table.end - self._table.low

    def get_mask_sizes(self, *_: object) -> tuple[int, int]:
        return self._table.high - self._seen, self._seen - self._table.low

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: object, **__: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        table, behind = self._table, self._seen - self._table.low
        column = table.column.to(self.keys.device)
        keys, values = (x[: table.rows, :, table.low : table.high] for x in (self.keys, self.values))
        keys.index_copy_(2, column, key_states.to(keys.dtype))
        values.index_copy_(2, column, value_states.to(values.dtype))
        return keys[:, :, behind:], values[:, :, behind:]

    def put(self, row: int, source: Any) -> None:
        end = self._table.end
        for mine, theirs in ((self.keys, source.keys), (self.values, source.values)):
            mine[row].zero_()
            mine[row, :, end - theirs.shape[2] : end] = theirs[0]

    def drop(self, row: int, last: int) -> None:
        """The last row takes the place of one that leaves."""
        for memory in (self.keys, self.values):
            memory[row, :, : self._table.end] = memory[last, :, : self._table.end]

    def move(self, rows: int, columns: int, shift: int) -> None:
        """Memory of `rows` by `columns`, and all that is in it `shift` columns further right."""
        self.keys, self.values = (self._moved(x, rows, columns, shift) for x in (self.keys, self.values))

    @property
    def column_bytes(self) -> int:
        """Memory of one column of one row."""
        return sum(x.shape[1] * x.shape[3] * x.element_size() for x in (self.keys, self.values))

    @property
    def _seen(self) -> int:
        """The first column that the step may attend to."""
        table = self._table
        narrow = self.window is not None and not table.fixed
        return max(table.low, table.end - (self.window or 0) + 1) if narrow else table.low

    def _moved(self, old: torch.Tensor, rows: int, columns: int, shift: int) -> torch.Tensor:
        """In place if the size is right, as new memory costs page faults."""
        table, shape = self._table, (rows, old.shape[1], columns, old.shape[3])
        kept = old[: len(table.lengths), :, table.first : table.end]
        if old.shape == shape:
            new, kept = old, kept.clone()
            new.zero_()
        else:
            new = old.new_zeros(shape)
        new[: len(kept), :, table.first + shift : table.end + shift] = kept
        return new


class StateLayer(LinearAttentionLayer):
    """Convolution and recurrent states, which have no columns: one state per row sums up all its tokens."""

    def __init__(self, source: Any) -> None:
        super().__init__(source.number_of_states)
        for fact in FACTS:
            setattr(self, fact, dict(getattr(source, fact)))
        self.dtype, self.device = source.dtype, source.device
        self._combine(source, lambda _, theirs: theirs[:0])

    def put(self, row: int, source: Any) -> None:
        self._combine(source, lambda mine, theirs: torch.cat([mine[:row], theirs]))

    def drop(self, row: int, last: int) -> None:
        order = [last if at == row else at for at in range(last)]
        self._combine(self, lambda mine, _: mine[order])

    def _combine(self, source: Any, combine: Any) -> None:
        for name in STATES:
            mine = getattr(self, name)
            mine.update(
                {at: combine(mine[at], x) for at, x in getattr(source, name).items() if x is not None}
            )


class BatchCache(Cache):
    """Has the kinds of layers that the first row's cache has; rows are copied in from their prompts'."""

    def __init__(
        self,
        first: Any,
        *,
        fixed: bool = False,
        columns: int = GRAIN,
        limit: int = 2**10,
        tokens: int = 2**40,
    ) -> None:
        """Memory comes in multiples of `columns`, for at most `limit` rows and `tokens` of them all.

        Raises BatchingError for a kind of cache or layer that rows cannot share.
        """
        if type(first) is not DynamicCache:
            raise BatchingError(f"its cache is a {type(first).__name__}")
        self.table = RowTable(fixed=fixed)
        super().__init__(layers=[self._like(layer) for layer in first.layers])
        self.kv = [layer for layer in self.layers if isinstance(layer, KVLayer)]
        self.states = [layer for layer in self.layers if isinstance(layer, StateLayer)]
        self.torn = False
        """Whether an exception left some layers changed and others not."""
        self._columns, self._limit, self._tokens = columns, limit, tokens

    def _like(self, layer: Any) -> Any:
        if type(layer) in (DynamicLayer, DynamicSlidingWindowLayer):
            return KVLayer(self.table, layer)
        if type(layer) is LinearAttentionLayer:
            return StateLayer(layer)
        if type(layer) is DummyLayer:
            return DummyLayer()  # type: ignore[no-untyped-call]
        raise BatchingError(f"its cache has layers of the kind {type(layer).__name__}")

    def join(self, row: Any, length: int) -> None:
        """Copy a prompt's cache in. Raises BatchingError; after any other error the rows are lost."""
        table = self.table
        for layer in row.layers:
            keys = layer.keys if isinstance(layer, DynamicLayer) else None
            if keys is not None and keys.shape[2] != length:
                raise BatchingError(f"a layer holds {keys.shape[2]} columns for a prompt of {length} tokens")
        self._make_room(len(table.lengths) + 1, length)
        for mine, theirs in zip(self.layers, row.layers, strict=True):
            if not isinstance(mine, DummyLayer):
                mine.put(len(table.lengths), theirs)  # type: ignore[union-attr]
        table.lengths.append(length)

    def leave(self, row: int) -> None:
        lengths, last = self.table.lengths, len(self.table.lengths) - 1
        for layer in (*(self.kv if row != last else ()), *self.states):
            layer.drop(row, last)
        lengths[row] = lengths[last]
        lengths.pop()
        if not lengths:
            self.table.end = 0

    def before_step(self) -> None:
        """Room for the step's column, and what the step computes over."""
        table, count = self.table, len(self.table.lengths)
        self._make_room(count, 0)
        rows, columns = self.size
        if table.fixed:
            table.rows, table.low, table.high = min(rows, 1 << (count - 1).bit_length()), 0, columns
        else:
            table.rows, table.low = count, table.first // GRAIN * GRAIN
            table.high = min(columns, (table.end // GRAIN + 1) * GRAIN)

    def after_step(self) -> None:
        self.table.lengths = [length + 1 for length in self.table.lengths]
        self.table.end += 1

    def past(self, row: int) -> Past:
        """All that a row has seen: views of its columns until the next change, and copies of its states."""
        table = self.table
        own = slice(table.end - table.lengths[row], table.end)
        columns = [(one.keys[row : row + 1, :, own], one.values[row : row + 1, :, own]) for one in self.kv]
        return Past(tuple(columns), tuple(RecurrentState.copied(layer, row) for layer in self.states))

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns that there is memory for."""
        shape = self.kv[0].keys.shape if self.kv else (len(self.table.lengths), 0, self.table.end + 1)
        return shape[0], shape[2]

    @property
    def column_bytes(self) -> Counter[torch.device]:
        """Memory of one token of one row on each device."""
        sizes = Counter[torch.device]()
        for layer in self.kv:
            sizes[layer.keys.device] += layer.column_bytes
        return sizes

    def _make_room(self, rows: int, length: int) -> None:
        """Room for so many rows, one of `length` before the step's column, and that column.

        Where there is none, all rows move back to column 0, if need be into memory that has a quarter more
        columns than are in use. Captured steps compute over all of it: there it is not left far too wide.
        """
        table, (have_rows, have) = self.table, self.size
        end, shortest = max(table.end, length), max(table.end - table.first, length)
        wanted = -(-(shortest + 1 + shortest // 4) // self._columns) * self._columns
        wide = table.fixed and have > 2 * wanted
        if rows > have_rows or end + 1 > have or wide:
            end = shortest
            if rows > have_rows or wanted > have or have > 2 * wanted:
                have_rows = max(rows, min(self._limit, 1 << (rows - 1).bit_length(), self._tokens // wanted))
                have = wanted
        elif end == table.end:
            return
        self.torn = True
        for layer in self.kv:
            layer.move(have_rows, have, end - table.end)
        table.end, self.torn = end, False

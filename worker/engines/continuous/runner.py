"""The rows that decode together: one forward pass gives each its next logits.

A step is one path: its inputs lie in memory of their own, and it is computed from there, or replayed where a
GPU has captured it. A GPU computes a step faster than Python queues its kernels, of which there are about 25
a layer; a graph is queued by one call, but its shapes and its memory are fixed. So there a step has 1, 2, 4 …
rows and all columns that there is memory for, and a mask hides those not in use.

Source: https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs
"""

import logging
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property
from typing import Any

import torch

from worker.engines.continuous.attention import WASTE, attention_groups, grouped, ours
from worker.engines.continuous.kv_cache import GRAIN, BatchCache, BatchingError, Past
from worker.engines.continuous.prefill import FlatRows, Prefill, alike, flat_pass
from worker.engines.loading.devices import device_of
from worker.engines.loading.torch_errors import out_of_memory

log = logging.getLogger("worker.engines.continuous")
REPEATS = 2
"""Steps over the same memory, one behind the other, before one is captured, which takes as long as three."""
PAUSE = 1000
"""Steps before the next is captured where there was no memory for one."""
MAX_STEPS = 16
"""Each has logits of its own, and shares all other memory with the others."""
GRAPH_COLUMNS = 512
"""Columns to allocate at once where steps are captured: more memory is other memory, and another graph."""
WIDER, FEW_COLUMNS = 4, 1024
"""Over more columns than so many times an attention window's, and than a few, a graph loses what it gains."""


def capturable(network: Any) -> bool:
    """Whether it lies on one GPU, and computes its attention as `attention.attend` does."""
    places = {tensor.device for tensor in (*network.parameters(), *network.buffers())}
    return ours(network) and places == {device_of(network)} and device_of(network).type == "cuda"


class Step:
    """A step over the rows and columns that the cache's table says, of which some may be idle."""

    graph: Any = None

    def __init__(
        self, network: Any, cache: BatchCache, positions: torch.Tensor, extras: dict[str, Any]
    ) -> None:
        table, device = cache.table, positions.device
        self._network, self._cache = network, cache
        self._numbers = torch.zeros(1 + 2 * table.rows, dtype=torch.long, device=device)
        self._column, self._starts, self.ids = torch.split(self._numbers, [1, table.rows, table.rows])
        self._positions = positions.new_zeros(*positions.shape[:-2], table.rows, 1)
        self._extras = {
            name: value.new_zeros(table.rows, *value.shape[1:]) if torch.is_tensor(value) else value
            for name, value in extras.items()
        }
        self._columns = torch.arange(table.high - table.low, device=device)
        self._logits: torch.Tensor

    def write(self, tokens: Sequence[int], positions: torch.Tensor, extras: dict[str, Any]) -> None:
        """Each row's token; `positions` [..., rows, 1]."""
        table, rows = self._cache.table, len(tokens)
        column, idle = table.end - table.low, len(self.ids) - rows
        starts = [column - length for length in table.lengths] + [column] * idle
        self._numbers.copy_(torch.tensor([column, *starts, *tokens, *[0] * idle]))
        self._positions[..., :rows, :] = positions
        for name, value in extras.items():
            if torch.is_tensor(value):
                self._extras[name][:rows] = value
        table.column = self._column

    @property
    def seen(self) -> torch.Tensor:
        """Which columns each row attends to, [rows, columns]."""
        return (self._columns >= self._starts[:, None]) & (self._columns <= self._column)

    def compute(self) -> torch.Tensor:
        """Logits [rows, vocabulary] of what was written, call by call."""
        outputs = self._network(
            input_ids=self.ids[:, None],
            position_ids=self._positions,
            attention_mask=self.seen.long(),
            past_key_values=self._cache,
            return_dict=True,
            **self._extras,
        )
        logits: torch.Tensor = outputs.logits[:, -1]
        return logits

    def beside(self, chunks: Sequence[tuple[Prefill, int]]) -> torch.Tensor:
        """The same, and the prompts up to their ends, in one pass."""
        rows = FlatRows(self._cache.kv, self.ids, self._positions, self._extras, self.seen)
        return flat_pass(rows, chunks)

    def capture(self, stream: torch.cuda.Stream, pool: Any) -> None:
        """With inputs that are written. Raises RuntimeError: the code cannot be captured, or memory lacks."""
        graph, queue = torch.cuda.CUDAGraph(), torch.cuda.current_stream(stream.device)
        stream.wait_stream(queue)
        with torch.cuda.stream(stream):
            try:
                # Makes what a graph may not make. It writes the step's column, as the graph will once more.
                self.compute()
            finally:
                # Nothing else runs there: a capture only records.
                queue.wait_stream(stream)
            # Other threads may use the device meanwhile.
            graph.capture_begin(pool, capture_error_mode="thread_local")
            try:
                self._logits = self.compute()
            except RuntimeError:
                with suppress(RuntimeError):
                    graph.capture_end()
                with suppress(RuntimeError):
                    # torch 2.11 goes on as if it captured, and then gives no memory back.
                    torch._C._cuda_endAllocateToPool(stream.device_index, pool)
                    torch._C._cuda_releasePool(stream.device_index, pool)
                raise
            graph.capture_end()
        self.graph = graph

    def replay(self) -> torch.Tensor:
        """As `compute`; valid until the next replay."""
        self.graph.replay()
        return self._logits


class Runner:
    """A row joins behind the last one; when a row leaves, the last one takes its place.

    Everything here runs under `torch.inference_mode`: its tensors are written in place at every step.
    """

    cache: BatchCache | None = None
    _positions: torch.Tensor
    _extras: dict[str, Any]

    def __init__(
        self,
        network: Any,
        *,
        rows: int = 2**10,
        tokens: int = 2**40,
        waste: int | None = WASTE,
        captures: bool = False,
        columns: int | None = None,
        repeats: int = REPEATS,
    ) -> None:
        """At most `rows` rows, and `tokens` of all rows, are given memory before they join, `columns` at
        once.

        Rows attend in groups (see `grouped`), or all together if `waste` is None.
        """
        self.replays = 0
        """Steps computed by a graph that an earlier step had captured."""
        self.waste, self.captures = waste, captures
        wide = max(GRAIN, min(GRAPH_COLUMNS, tokens // (8 * rows)))
        self._columns = columns or (wide if captures else GRAIN)
        self._network, self._limit, self._tokens, self._least = network, rows, tokens, repeats
        self._steps = OrderedDict[Any, Step]()
        self._last: Any = None
        self._repeats = 0

    @property
    def rows(self) -> int:
        return len(self.cache.table.lengths) if self.cache else 0

    def join(self, prompt: Prefill) -> None:
        """Raises BatchingError, and nothing has changed; after any other exception the rows are lost."""
        cache = self.cache or BatchCache(
            prompt.cache, columns=self._columns, limit=self._limit, tokens=self._tokens
        )
        positions, extras = prompt.positions, prompt.extras
        if self.rows:
            if extras.keys() != self._extras.keys():
                raise BatchingError("its prompts need different inputs while decoding")
            positions = torch.cat(alike([self._positions, positions]), dim=-2)
            extras = {
                k: torch.cat([v, extras[k]]) if torch.is_tensor(v) else v for k, v in self._extras.items()
            }
        cache.join(prompt.cache, prompt.length)
        self.cache, self._positions, self._extras = cache, positions, extras

    def leave(self, row: int) -> None:
        """If it raises, all rows are lost."""
        if self.rows == 1 and not any(step.graph is not None for step in self._steps.values()):
            self.clear()
            return
        self._full.leave(row)
        last = self.rows
        order = [last if at == row else at for at in range(last)]
        self._positions = self._positions[..., order, :]
        self._extras = {k: v[order] if torch.is_tensor(v) else v for k, v in self._extras.items()}

    def clear(self) -> None:
        """Drop all rows, and give back their memory and that of graphs."""
        self.cache = None
        self._steps.clear()
        vars(self).pop("_pool", None)

    def past(self, row: int) -> Past:
        return self._full.past(row)

    def step(self, tokens: Sequence[int], chunks: Sequence[tuple[Prefill, int]] = ()) -> torch.Tensor:
        """Feed each row its token, and compute each prompt up to the end given with it.

        Logits [rows, vocabulary] in the model's number format, valid until the next step. After an exception
        prompts are lost, and the rows if they are `torn`.
        """
        cache, table = self._full, self._full.table
        table.fixed = self.captures and self._gains
        cache.before_step()
        key = self._key()
        step = self._steps.get(key) or self._new(key)
        self._steps.move_to_end(key)
        step.write(tokens, self._positions, self._extras)
        captured = step.graph is not None
        self.replays += captured
        captured = table.fixed and not chunks and (captured or self._capture(key, step))
        groups = [] if table.fixed or self.waste is None else grouped(table.lengths, self.waste)
        with attention_groups(groups, table.high - 1 - table.end):
            logits = step.replay() if captured else step.beside(chunks) if chunks else step.compute()
        positions = self._positions + 1
        cache.after_step()
        self._positions = positions
        return logits[: len(tokens)]

    def give_up(self, why: Exception) -> None:
        """Steps of this model cannot be captured, or answer otherwise then."""
        self.captures = False
        self._steps.clear()
        log.warning("steps of this model are computed call by call: %s", why)

    @property
    def torn(self) -> bool:
        """Whether a step that raised has changed the rows: else it can be taken once more."""
        return self.cache is not None and (self.cache.torn or bool(self.cache.states))

    @property
    def _full(self) -> BatchCache:
        if self.cache is None:
            raise RuntimeError("the batch is empty")
        return self.cache

    @property
    def _gains(self) -> bool:
        """Rows that join or leave replace recurrent states; a short window is read by itself otherwise."""
        windows = [layer.window for layer in self._full.kv if layer.window is not None]
        most = max(FEW_COLUMNS, WIDER * min(windows, default=2**40))
        return not self._full.states and self._full.size[1] <= most

    def _key(self) -> Any:
        """The same for steps that a graph cannot tell apart."""
        cache, table = self._full, self._full.table
        constants = [
            (name, None if torch.is_tensor(value) else value) for name, value in self._extras.items()
        ]
        addresses = [x.data_ptr() for layer in cache.kv for x in (layer.keys, layer.values)]
        return table.rows, table.low, table.high, self._positions.shape[:-2], *map(str, constants), *addresses

    def _new(self, key: Any) -> Step:
        self._steps[key] = Step(self._network, self._full, self._positions, self._extras)
        if len(self._steps) > MAX_STEPS:
            self._steps.popitem(last=False)
        return self._steps[key]

    @cached_property
    def _stream(self) -> torch.cuda.Stream:
        """Where all graphs are captured. Libraries keep a workspace for each stream for good."""
        return torch.cuda.Stream(device_of(self._network))  # type: ignore[no-untyped-call]

    @cached_property
    def _pool(self) -> Any:
        """Whence all graphs have their memory."""
        return torch.cuda.graph_pool_handle()

    def _capture(self, key: Any, step: Step) -> bool:
        self._repeats = self._repeats + 1 if key == self._last else min(0, self._repeats)
        self._last = key
        if self._repeats < self._least:
            return False
        try:
            step.capture(self._stream, self._pool)
        except RuntimeError as error:
            if not out_of_memory(error):
                self.give_up(error)
                return False
            log.warning("no memory to capture steps; the next %d are computed call by call", PAUSE)
            for other in self._steps.values():
                other.graph = None
            vars(self).pop("_pool", None)
            self._repeats = -PAUSE
        return step.graph is not None
